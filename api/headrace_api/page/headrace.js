// The client of headrace's streams, for browsers and Node 20+. No dependency: copy this file, or load it from the gateway.
//   import { openStream, fold } from "/headrace.js";
//   const stream = openStream({ job, url: "http://127.0.0.1:8400" });
//   let state = fold();
//   for await (const event of stream) { state = fold(state, event); show(state.content); }
// Every event comes once and in order, whatever happens to the connection. Types: headrace.d.ts.

const TERMINAL_HTTP = new Set([400, 401, 403, 404, 405, 410]);
const TERMINAL_WS = new Set([1009, 4400, 4401, 4403, 4404, 4410]);
const [FIRST_WAIT_MS, MAX_WAIT_MS] = [250, 10_000];

/** The stream cannot go on. `code`: an HTTP status, or a WebSocket's close code; `result`: where the outcome is found. */
export class StreamError extends Error {
  constructor(code, message, result) {
    super(message);
    Object.assign(this, { name: "StreamError", code, result });
  }
}

/** Whether `id` comes after `other`; both are `<epoch>-<seq>`. */
export function isAfter(id, other) {
  if (!/^\d+-\d+$/.test(other ?? "")) return true; // the start, `now`, or a cursor of another form
  const [a, b] = [id, other].map((one) => one.split("-").map(Number));
  return a[0] !== b[0] ? a[0] > b[0] : a[1] > b[1];
}

/** Follow a job: an async iterable of events, with `cancel()` (stops the job), `close()` (stops watching) and `cursor`. */
export function openStream(options) {
  const base = (options.url ?? globalThis.location?.origin ?? "").replace(/\/$/, "");
  const { job, getToken, signal, transport = "sse", heartbeatMs = 15_000 } = options;
  const stop = new AbortController();
  signal?.aborted ? stop.abort() : signal?.addEventListener("abort", () => stop.abort(), { once: true });
  const stream = {
    cursor: options.after ?? "",
    close: () => stop.abort(),
    async cancel() {
      const headers = await authorization(getToken);
      const answer = await fetch(`${base}/v1/jobs/${job}/cancel`, { method: "POST", headers });
      if (!answer.ok && answer.status !== 409) throw await refusal(answer);
      return answer.status !== 409;
    },
    async *[Symbol.asyncIterator]() {
      let [waitMs, token, refused] = [FIRST_WAIT_MS];
      const connect = transport === "ws" ? overWebSocket : overSse;
      while (!stop.signal.aborted) {
        let askedMs = 0;
        try {
          token = await getToken?.();
          const request = { base, job, token, after: stream.cursor, signal: stop.signal, idleMs: heartbeatMs * 2.5 };
          for await (const event of connect(request)) {
            if (event === END) return;
            askedMs = event.retryMs ?? (event.t === "bye" ? event.reconnect_ms : askedMs);
            if (event.t === "pos") stream.cursor = event.at;
            if (event.t === "gap") throw new StreamError(410, "events after the cursor are gone", event.result);
            const reset = event.t === "attempt.start" && !event.id.startsWith(`${stream.cursor.split("-")[0]}-`); // of a lost log
            if (event.id ? !isAfter(event.id, stream.cursor) && !reset : event.t !== "status") continue; // seen, or the gateway's own
            [waitMs, refused] = [FIRST_WAIT_MS];
            stream.cursor = event.id ?? stream.cursor;
            options.onStatus?.("live");
            yield event;
            if (event.t === "end") return;
          }
        } catch (error) {
          if (stop.signal.aborted) return;
          const fresh = [401, 4401].includes(error.code) && token && token !== refused; // there may be a better one
          if ((error instanceof StreamError && !fresh) || error instanceof ReferenceError) throw error; // no WebSocket here
          refused = token;
        }
        options.onStatus?.("reconnecting");
        // Not all at once: after a restart everybody comes back.
        await sleep((askedMs || waitMs) * (0.5 + Math.random()), stop.signal);
        waitMs = Math.min(waitMs * 2, MAX_WAIT_MS);
      }
    },
  };
  return stream;
}

const END = Symbol("end");

async function* overSse({ base, job, token, after, signal, idleMs }) {
  const headers = await authorization(() => token);
  headers.Accept = "text/event-stream";
  if (after) headers["Last-Event-ID"] = after;
  const cut = new AbortController();
  const abort = () => cut.abort();
  signal.addEventListener("abort", abort, { once: true });
  let idle = setTimeout(abort, idleMs);
  try {
    const answer = await fetch(`${base}/v1/jobs/${job}/events`, { headers, signal: cut.signal, cache: "no-store" });
    if (answer.status === 204) return void (yield END);
    if (TERMINAL_HTTP.has(answer.status)) throw await refusal(answer);
    if (answer.status !== 200) return; // 429 and 5xx: tried again later
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    let block = {};
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return; // no `end`: the connection broke, not the job
      clearTimeout(idle);
      idle = setTimeout(abort, idleMs);
      const lines = (buffer + value).split("\n");
      buffer = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (block.data !== undefined) yield { ...JSON.parse(block.data), id: block.id, retryMs: block.retry };
          block = {};
        } else if (!line.startsWith(":")) {
          const at = line.indexOf(":");
          const field = line.slice(0, at);
          const text = line.slice(at + 1).replace(/^ /, "");
          block[field] = field === "retry" ? Number(text) : text;
        }
      }
    }
  } finally {
    clearTimeout(idle);
    signal.removeEventListener("abort", abort);
    cut.abort();
  }
}

async function* overWebSocket({ base, job, token, after, signal, idleMs }) {
  const address = `${base.replace(/^http/, "ws")}/v1/stream?job=${job}&after=${encodeURIComponent(after)}`;
  const socket = new WebSocket(address, ["headrace.v1", ...(token ? [`bearer.${token}`] : [])]);
  const queue = [];
  let wake = () => {};
  let closed = null;
  const close = () => socket.close();
  let idle = setTimeout(close, idleMs);
  socket.onmessage = ({ data }) => {
    clearTimeout(idle);
    idle = setTimeout(close, idleMs);
    queue.push(JSON.parse(data));
    wake();
  };
  socket.onclose = (event) => {
    closed = event;
    wake();
  };
  signal.addEventListener("abort", close, { once: true });
  try {
    for (;;) {
      while (queue.length) yield queue.shift();
      if (closed) break;
      await new Promise((resolve) => (wake = resolve));
    }
    if (closed.code === 1000) yield END;
    if (TERMINAL_WS.has(closed.code)) throw new StreamError(closed.code, closed.reason, `${base}/v1/jobs/${job}`);
  } finally {
    clearTimeout(idle);
    signal.removeEventListener("abort", close);
    socket.close();
  }
}

async function authorization(getToken) {
  const token = await getToken?.();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function refusal(answer) {
  const { error } = await answer.json().catch(() => ({}));
  return new StreamError(answer.status, error?.message ?? `the gateway answered ${answer.status}`, null);
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

const EMPTY = {
  content: "", reasoning: "", refusal: "", toolCalls: [], annotations: [], images: [], citations: [],
  attempt: 0, attempts: [], status: null, route: null, usage: null, end: null,
};

/** The state after `event`; without arguments, the state before any. It never changes the one that it is given. */
export function fold(state = EMPTY, event) {
  if (!event) return state;
  const next = { ...state };
  const [last, place] = [() => state.attempts.length - 1, event.i];
  const calls = () => (next.toolCalls = state.toolCalls.map((call) => ({ ...call })));
  if ((event.c ?? 0) !== 0) return state; // the first choice is the one that is shown
  switch (event.t) {
    case "attempt.start": // whatever was shown of an earlier attempt does not count any more
      return { ...EMPTY, attempt: event.n, attempts: [...state.attempts, { n: event.n, reason: event.reason }] };
    case "attempt.route":
      next.route = { provider: event.provider, model: event.model, deployment: event.deployment, cached: event.cached };
      next.attempts = state.attempts.map((one, at) => (at === last() ? { ...one, ...next.route } : one));
      return next;
    case "status":
      return { ...next, status: { phase: event.phase, detail: event.detail } };
    case "text.delta":
      return { ...next, content: state.content + event.d, status: null };
    case "reasoning.delta":
      return { ...next, reasoning: state.reasoning + event.d, status: null };
    case "refusal.delta":
      return { ...next, refusal: state.refusal + event.d };
    case "tool.start":
      calls()[place] = { id: event.call_id, name: event.name, arguments: "", done: false };
      return next;
    case "tool.delta":
      if (calls()[place]) next.toolCalls[place].arguments += event.d;
      return next;
    case "tool.end":
      if (calls()[place]) next.toolCalls[place].done = true;
      return next;
    case "annotation":
      return { ...next, annotations: [...state.annotations, event.a] };
    case "image":
      return { ...next, images: [...state.images, event.a], status: null };
    case "citation":
      return { ...next, citations: [...state.citations, event.a] };
    case "usage":
      return { ...next, usage: event.u };
    case "snapshot": {
      const { content, reasoning, refusal, tool_calls: made = [] } = event.message;
      const { annotations = [], images = [], citations = [] } = event.message;
      const begun = state.attempt === event.attempt?.n ? state : fold(state, { ...event.attempt, t: "attempt.start" });
      const toolCalls = [];
      for (const { id, index = toolCalls.length, function: one, custom: other = one } of made)
        toolCalls[index] = { id, name: other.name, arguments: other.arguments ?? other.input ?? "", done: false };
      const said = { content: content ?? "", reasoning: reasoning ?? "", refusal: refusal ?? "" };
      const whole = { ...said, toolCalls, annotations, images, citations };
      return { ...fold(begun, { ...event.route, t: "attempt.route" }), ...whole, usage: event.usage ?? null, status: null };
    }
    case "end": // a call whose end was only in a snapshot has ended, too
      calls().forEach((call) => (call.done = true));
      return { ...next, end: event, usage: event.usage ?? state.usage, status: null };
    default:
      return state;
  }
}

/** What a JSON text holds so far: what is open is closed, a key without its value is left out; null when it holds nothing. */
export function partialJson(text, whole = false) {
  const closers = [];
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (inString && char === "\\") at++;
    else if (char === '"') inString = !inString;
    else if (!inString && "{[".includes(char)) closers.unshift(char === "{" ? "}" : "]");
    else if (!inString && "}]".includes(char)) closers.shift();
  }
  const open = inString ? `${text.replace(/((?:^|[^\\])(?:\\\\)*)\\(u[0-9a-fA-F]{0,3})?$/, "$1")}"` : text;
  const cuts = [/[,\s]+$/, /,?\s*"(?:[^"\\]|\\.)*"\s*:?\s*[^\s"{}[\],]*$/, /[,:]?\s*[^\s"{}[\],]*$/];
  for (const one of whole ? [text] : [open, ...cuts.map((cut) => open.replace(cut, ""))]) {
    try {
      return JSON.parse(whole ? one : one + closers.join(""));
    } catch {} // the next is shorter
  }
  return null;
}
