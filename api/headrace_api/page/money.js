// Money: what requests are expected to cost, and what was spent and saved.
import { call, persistently } from "/calls.js";
import { $, dollars, element } from "/elements.js";

const SPEND_EVERY_MS = 30_000;
const GROUP = 20;
const GROUP_CHARACTERS = 4_000_000; // a body may have 32 MiB, and each job is one of its own
const NOTHING = { expected: 0, low: 0, high: 0 };
const number = new Intl.NumberFormat("en");

/** Ask for what `bodies` will take and cost, and then the user: true to send them. */
export async function confirmed(name, bodies) {
  const told = await forecast(bodies);
  const lines = [
    `${name}: ${number.format(told.calls)} calls`,
    `tokens in: ${interval(told.input_tokens, (one) => number.format(Math.round(one)))}`,
    `tokens out: ${interval(told.output_tokens, (one) => number.format(Math.round(one)))}`,
    told.cost_usd ? `cost: ${interval(told.cost_usd, dollars)}` : `cost: no price is known of ${told.unpriced.join(", ")}`,
  ];
  if (told.too_long) lines.push(`${told.too_long} are longer than the model’s context`);
  $("offer-facts").replaceChildren(...lines.map((line) => element("li", line)));
  $("offer").hidden = false;
  $("send").focus();
  const answered = await new Promise((answer) => {
    $("send").onclick = () => answer(true);
    $("not-now").onclick = () => answer(false);
  });
  $("offer").hidden = true;
  return answered;
}

/** The forecast of all bodies, asked for in groups that a request may carry. */
async function forecast(bodies) {
  const total = { calls: 0, too_long: 0, unpriced: [], input_tokens: NOTHING, output_tokens: NOTHING, cost_usd: NOTHING };
  for (const requests of groups(bodies)) {
    const told = await persistently(() => call("/v1/forecast", { requests }));
    total.calls += told.calls;
    total.too_long += told.too_long;
    total.unpriced = [...new Set([...total.unpriced, ...told.unpriced])];
    for (const name of ["input_tokens", "output_tokens", "cost_usd"]) {
      total[name] = total[name] && told[name] && added(total[name], told[name]);
    }
  }
  return total;
}

function* groups(bodies) {
  let group = [];
  let characters = 0;
  for (const body of bodies) {
    const size = JSON.stringify(body).length;
    if (group.length && (group.length === GROUP || characters + size > GROUP_CHARACTERS)) {
      yield group;
      [group, characters] = [[], 0];
    }
    group.push(body);
    characters += size;
  }
  if (group.length) yield group;
}

function added(one, other) {
  return { expected: one.expected + other.expected, low: one.low + other.low, high: one.high + other.high };
}

function interval({ expected, low, high }, words) {
  return high > low ? `about ${words(expected)} (${words(low)} to ${words(high)})` : words(expected);
}

let asked = null;

/** Show what was spent today, saved, and left, soon: many ends are one question. Where the page's token does not allow it, nothing. */
export function showSpend(after = 500) {
  clearTimeout(asked);
  asked = setTimeout(async () => {
    const { today, total } = await call("/v1/spend?days=1").catch(() => ({}));
    const left = [today?.left_usd, total?.left_usd].filter((one) => one != null);
    const parts = today ? [`today ${dollars(today.cost_usd)} for ${number.format(today.calls)} calls`] : [];
    if (today?.cached) parts.push(`${number.format(today.cached)} not paid again, ${dollars(today.saved_usd)} saved`);
    if (left.length) parts.push(`${dollars(Math.max(0, Math.min(...left)))} left`);
    $("spend").textContent = parts.join(" · ");
    if (today) showSpend(SPEND_EVERY_MS);
  }, after);
}
