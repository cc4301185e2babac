// The page's elements: found, made, and filled.

export const $ = (id) => document.getElementById(id);

export function dollars(amount) {
  if (amount === 0) return "$0";
  return `$${amount < 0.01 ? amount.toPrecision(2) : amount.toFixed(2)}`;
}

export function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function setText(id, text) {
  const node = $(id);
  const shown = node.textContent;
  if (text === shown) return;
  if (text.startsWith(shown) && node.firstChild) node.firstChild.appendData(text.slice(shown.length));
  else node.textContent = text;
}

export function say(text) {
  $("connection").textContent = text;
}

export function complain(error) {
  $("problem").textContent = error.message;
}
