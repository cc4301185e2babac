// Requests to the gateway: each with the page's token, asked again while the gateway is away.
import { say } from "/elements.js";

const own = new URLSearchParams(location.search).get("st"); // a token, where the gateway demands one
export const getToken = () => own ?? undefined;

function headers(more = {}) {
  return own ? { ...more, Authorization: `Bearer ${own}` } : more;
}

export async function call(path, body, key) {
  const init = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const named = key === undefined ? {} : { "Idempotency-Key": key };
  const answer = await fetch(path, { ...init, headers: headers({ "Content-Type": "application/json", ...named }) });
  const decoded = await answer.json();
  if (answer.ok) return decoded;
  const error = new Error(decoded.error?.message ?? `the gateway answered ${answer.status}`);
  throw Object.assign(error, { later: [429, 503].includes(answer.status) });
}

/** What `ask` gives; asked again while the gateway is away or busy, as long as that is `wanted`. */
export async function persistently(ask, wanted = () => true) {
  for (;;) {
    try {
      const found = await ask();
      say("");
      return found;
    } catch (error) {
      if (!(error instanceof TypeError || error.later) || !wanted()) throw error;
      say("reconnecting …");
      await new Promise((go) => setTimeout(go, 500 + 1000 * Math.random()));
    }
  }
}

export function newKey() {
  return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
}

/** Accept a job, once however often it has to be said. */
export function submit(body, key = newKey(), wanted) {
  return persistently(() => call("/v1/jobs", body, key), wanted);
}
