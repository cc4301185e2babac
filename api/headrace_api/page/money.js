// Money: what requests are expected to cost, and what was spent and saved.
import { call, persistently } from "/calls.js";
import { $, dollars, element } from "/elements.js";

const SPEND_EVERY_MS = 30_000;
const number = new Intl.NumberFormat("en");

/** Ask for what `bodies` will take and cost, and then the user: true to send them. */
export async function confirmed(name, bodies) {
  const told = await persistently(() => call("/v1/forecast", { requests: bodies }));
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
