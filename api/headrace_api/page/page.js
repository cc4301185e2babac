// The page: one answer as it comes, or a file of jobs. What is shown is always the fold of a job's events.
import { call, getToken, newKey, persistently, submit } from "/calls.js";
import { $, complain, dollars, element, say, setText } from "/elements.js";
import { fold, openStream, partialJson } from "/headrace.js";
import { confirmed, showSpend } from "/money.js";

const MAX_LINES = 500;
const SUBMITTING = 6; // requests at a time
const WATCHED = 50; // jobs at a time on one WebSocket
const COME_BACK = new Set([1011, 4401, 4408, 4429]); // a job's subscription ended, the job did not
let stream = null;

function request(model, prompt, schemaText) {
  const body = { model, messages: [{ role: "user", content: prompt }], headrace: { on_retry: "reset" } };
  if (schemaText.trim()) {
    let schema;
    try {
      schema = JSON.parse(schemaText);
    } catch (error) {
      throw new Error(`The JSON Schema is no JSON: ${error.message}`);
    }
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
  }
  return body;
}

// One job

async function watch(job) {
  stream?.close();
  const mine = (stream = openStream({ job, getToken, onStatus: (status) => say(status === "live" ? "" : "reconnecting …") }));
  let state = fold();
  let result;
  let drawn = true;
  const draw = () => {
    drawn = true;
    if (stream === mine) show(state, result);
  };
  $("answer").hidden = false;
  $("stop").hidden = false;
  $("stop").disabled = false;
  show(state);
  try {
    for await (const event of mine) {
      if (stream !== mine) return;
      state = fold(state, event);
      if (drawn) {
        drawn = false;
        requestAnimationFrame(draw); // as often as the screen, not as the tokens
      }
    }
    if (stream !== mine) return;
    result = await persistently(() => call(`/v1/jobs/${job}`), () => stream === mine); // it is paid for
    if (stream === mine) show(state, result);
    showSpend();
  } catch (error) {
    if (stream === mine) {
      complain(error);
      if (!state.attempt) $("state").textContent = "not to be seen";
    }
    $("content").setAttribute("aria-busy", "false");
  }
  if (stream === mine) $("stop").hidden = true;
}

function show(state, result) {
  const status = result?.status ?? state.end?.status;
  const ended = status === "succeeded" && !result ? undefined : status; // done is what is shown as it is stored
  $("state").textContent = phrase(state, ended, result);
  $("state").className = ended ?? "";
  const attempts = state.attempts.length > 1 || state.attempts[0]?.cached ? state.attempts : [];
  $("attempts").replaceChildren(...attempts.map((one) => element("li", attempt(one))));
  setText("reasoning", state.reasoning || (result?.completion?.reasoning ?? ""));
  $("reasoning-box").hidden = !$("reasoning").textContent;
  const { shape, value, text } = answer(state, result, Boolean(ended));
  const structured = shape === "fields";
  setText("content", structured ? "" : [text, state.refusal].filter(Boolean).join("\n\n"));
  $("content").setAttribute("aria-busy", String(!ended && !structured));
  $("value").hidden = !structured;
  if (structured) $("value").replaceChildren(...Object.entries(value).flatMap(field));
  $("tools").replaceChildren(...state.toolCalls.filter(Boolean).map(tool));
  $("facts").textContent = facts(state, result);
}

/** What is shown of the answer: the stored value once it is there, before that what its text holds so far. */
function answer(state, result, ended) {
  const text = result?.completion?.content ?? state.content;
  let value = result?.completion?.value ?? null;
  if (value === null && /^\s*\{/.test(text)) value = partialJson(text, ended);
  const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
  if (isObject) return { shape: "fields", value, text };
  return { shape: "text", value, text: value === null ? text : JSON.stringify(value, null, 1) };
}

function phrase(state, ended, result) {
  if (ended === "succeeded") return "done";
  if (ended) return [ended, result?.error?.message ?? state.end?.error?.message].filter(Boolean).join(": ");
  if (state.status) return `${state.status.phase} ${state.status.detail ?? ""}`.trim();
  if (!state.attempt) return "queued";
  return state.content || state.reasoning || state.toolCalls.length ? "answering …" : "waiting for the model …";
}

function attempt({ n, reason, model, cached }) {
  const why = n > 1 ? `, begun again: ${reason}` : "";
  return `attempt ${n}${model ? ` on ${model}` : ""}${cached ? ", from the cache" : ""}${why}`;
}

function facts(state, result) {
  const usage = result?.completion?.usage ?? state.usage;
  const parts = [result?.completion?.model ?? state.route?.model];
  if (usage) parts.push(`${usage.input_tokens ?? usage.prompt_tokens ?? 0} tokens in, ${usage.output_tokens ?? usage.completion_tokens ?? 0} out`);
  if (result?.completion?.cost != null) parts.push(dollars(result.completion.cost));
  return parts.filter(Boolean).join(" · ");
}

function field([name, value]) {
  const lines = Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string");
  const text = typeof value === "string" ? value : lines ? value.join("\n") : JSON.stringify(value, null, 1);
  return [element("dt", name), element("dd", text ?? "")];
}

function tool(call) {
  const box = element("article");
  box.className = "call";
  box.append(element("h3", `calls ${call.name}${call.done ? "" : " …"}`), element("pre", call.arguments));
  return box;
}

// Many jobs

let rows = [];
let socket = null;

async function submitFile(file) {
  const model = $("model").value.trim();
  if (!model) throw new Error("Choose a model first.");
  const lines = (await file.text()).split("\n").map((line, at) => [line.trim(), at + 1]).filter(([line]) => line);
  if (!lines.length) throw new Error(`${file.name} is empty.`);
  if (lines.length > MAX_LINES) throw new Error(`${file.name} has ${lines.length} lines; ${MAX_LINES} are taken here. Use headrace extract.`);
  if (rows.some((row) => row.state === "waiting")) throw new Error("Another file is still being submitted: stop it, or wait a moment.");
  const bodies = lines.map(([line, number]) => bodyOf(line, `${file.name}, line ${number}`, model)); // all, before the first is paid
  if (!(await confirmed(file.name, bodies.map((one) => one.body)))) return;
  rows = bodies.map((one) => ({ ...one, key: newKey(), state: "waiting" }));
  remember();
  await submitRows();
}

/** Submit the rows that wait; after a reload, too: a row keeps its key. */
async function submitRows() {
  $("batch").hidden = false;
  drawRows();
  const left = rows.filter((row) => row.state === "waiting");
  const submitting = async () => {
    for (let row; (row = left.shift()); ) {
      if (row.state === "cancelled") continue;
      try {
        row.id = (await submit(row.body, row.key, () => row.state !== "cancelled")).id;
        if (row.state === "cancelled") await call(`/v1/jobs/${row.id}/cancel`, {}); // stopped while it was on its way
        row.state = "queued";
      } catch (error) {
        if (row.state !== "cancelled") Object.assign(row, { state: "refused", answer: error.message });
      }
      delete row.body;
      remember();
      drawRow(row);
      watchRows();
    }
  };
  await Promise.all(Array.from({ length: SUBMITTING }, submitting));
}

function bodyOf(line, where, model) {
  let item;
  try {
    item = JSON.parse(line);
  } catch (error) {
    throw new Error(`${where}: is no JSON: ${error.message}`);
  }
  if (typeof item === "string") item = { text: item };
  if (item === null || typeof item !== "object" || Array.isArray(item)) throw new Error(`${where}: must be an object or a text`);
  const name = String(item.custom_id ?? item.id ?? where.split(" ").pop());
  const template = $("prompt").value.trim() || "{text}";
  const given = item.body ?? item;
  if (Array.isArray(given.messages)) return { name, body: { ...request(model, "", $("schema").value), ...given } };
  const prompt = template.replace(/\{(\w+)\}/g, (_, key) => {
    if (item[key] === undefined) throw new Error(`${where}: has no field “${key}”, which the prompt asks for`);
    return typeof item[key] === "string" ? item[key] : JSON.stringify(item[key]);
  });
  return { name, body: request(model, prompt, $("schema").value) };
}

/** One WebSocket for as many of the open rows as it may carry; made anew when it breaks. */
function watchRows() {
  if (socket?.readyState > 1) socket = null;
  const open = rows.filter((row) => row.id && !row.ended);
  if (!socket && open.length) {
    const here = `${location.origin.replace(/^http/, "ws")}/v1/stream`;
    const mine = (socket = new WebSocket(here, ["headrace.v1", ...(getToken() ? [`bearer.${getToken()}`] : [])]));
    mine.onopen = watchRows;
    mine.onmessage = ({ data }) => onFrame(JSON.parse(data));
    mine.onclose = () => {
      for (const row of rows) row.watched = false;
      setTimeout(watchRows, 500 + 1500 * Math.random());
    };
  }
  if (socket?.readyState !== 1) return;
  const room = WATCHED - open.filter((row) => row.watched).length;
  for (const row of open.filter((one) => !one.watched).slice(0, room)) {
    row.watched = true;
    socket.send(JSON.stringify({ op: "sub", job: row.id }));
  }
}

async function onFrame(frame) {
  const row = rows.find((one) => one.id === frame.job);
  if (!row || row.ended) return;
  if (frame.t === "attempt.start") [row.state, row.answer] = ["running", ""];
  else if (frame.t === "status") [row.state, row.answer] = [frame.phase.replace("_", " "), frame.detail ?? ""];
  else if (frame.t === "closed" && COME_BACK.has(frame.code)) {
    setTimeout(() => ((row.watched = false), watchRows()), 1000);
    return;
  } else if (frame.t === "end" || frame.t === "closed") {
    row.ended = true;
    const result = await persistently(() => call(`/v1/jobs/${row.id}`)).catch((error) => ({ status: "lost", error }));
    row.state = result.status;
    row.known = true;
    row.usage = result.completion?.usage;
    row.cost = result.completion?.cost;
    row.answer = result.completion ? answerOf(result.completion) : result.error?.message;
    showSpend();
    watchRows();
  } else return;
  drawRow(row);
}

function answerOf({ value, content, refusal, tool_calls: calls }) {
  return value != null ? JSON.stringify(value) : content || refusal || (calls ? JSON.stringify(calls) : "");
}

function drawRows() {
  $("rows").replaceChildren(
    ...rows.map((row) => {
      row.line = element("tr");
      row.cells = Array.from({ length: 5 }, () => element("td"));
      row.line.append(...row.cells);
      fillRow(row);
      return row.line;
    }),
  );
  drawCounts();
}

function drawRow(row) {
  if (row.cells) fillRow(row);
  drawCounts();
}

function fillRow(row) {
  const [name, state, tokens, cost, answer] = row.cells;
  if (row.id && !name.querySelector("a")) {
    const link = element("a", row.name);
    link.href = `#job=${row.id}`;
    name.replaceChildren(link);
  } else if (!row.id) name.textContent = row.name;
  state.textContent = row.state;
  tokens.textContent = row.usage ? (row.usage.input_tokens ?? 0) + (row.usage.output_tokens ?? 0) : "";
  cost.textContent = row.cost != null ? dollars(row.cost) : "";
  answer.textContent = row.answer ?? "";
  answer.title = row.answer ?? "";
}

function drawCounts() {
  const over = rows.filter((row) => row.known || ["refused", "cancelled"].includes(row.state));
  const good = rows.filter((row) => row.state === "succeeded").length;
  const sum = (pick) => rows.reduce((total, row) => total + (pick(row) ?? 0), 0);
  const tokens = sum((row) => (row.usage?.input_tokens ?? 0) + (row.usage?.output_tokens ?? 0));
  const priced = rows.some((row) => row.cost != null) ? ` · ${dollars(sum((row) => row.cost))}` : "";
  $("progress").max = rows.length || 1;
  $("progress").value = over.length;
  $("counts").textContent = `${over.length} of ${rows.length} done · ${good} succeeded · ${over.length - good} not · ${tokens} tokens${priced}`;
  $("stop-all").hidden = over.length === rows.length;
}

function remember() {
  try {
    const kept = rows.map(({ id, name, key, body, state, answer }) => (id ? { id, name } : { name, key, body, state, answer }));
    sessionStorage.setItem("headrace.rows", JSON.stringify(kept));
  } catch {
    // A full or forbidden storage only means that a reload forgets the table.
  }
}

function fromUrl() {
  const job = new URLSearchParams(location.hash.slice(1)).get("job");
  complain({ message: "" });
  if (job) watch(job);
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  complain({ message: "" });
  const button = event.submitter;
  if (button) button.disabled = true;
  try {
    const { id } = await submit(request($("model").value.trim(), $("prompt").value, $("schema").value));
    localStorage.setItem("headrace.model", $("model").value.trim());
    location.hash = `job=${id}`;
    $("answer").hidden = false;
    $("answer").focus(); // on a phone the answer is below the form
  } catch (error) {
    complain(error);
  } finally {
    if (button) button.disabled = false;
  }
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});
$("stop").addEventListener("click", async () => {
  $("stop").disabled = true;
  await stream?.cancel().catch(complain);
});
$("stop-all").addEventListener("click", async () => {
  for (const row of rows) {
    if (!row.id && row.state === "waiting") row.state = "cancelled";
    else if (!row.ended) await call(`/v1/jobs/${row.id}/cancel`, {}).catch(() => {});
    drawRow(row);
  }
});
$("file").addEventListener("change", ({ target }) => {
  complain({ message: "" });
  if (target.files[0]) submitFile(target.files[0]).catch(complain);
  target.value = "";
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) submitFile(event.dataTransfer.files[0]).catch(complain);
  });
}
window.addEventListener("hashchange", fromUrl);
$("model").value = localStorage.getItem("headrace.model") ?? "rehearsal/small";
rows = JSON.parse(sessionStorage.getItem("headrace.rows") ?? "[]").map((row) => ({ state: "queued", ...row }));
if (rows.length) {
  submitRows();
  watchRows();
}
showSpend(0);
fromUrl();
