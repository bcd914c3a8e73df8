"use strict";
// The chosen symbol of the text: by pointer or arrow keys, and what the model expected in its place. Text is only ever set as text.
const { rows, names, lines, kinds, nats: unit } = JSON.parse(document.getElementById("data").textContent);
const box = document.getElementById("text"), details = document.getElementById("details");
const options = [...box.querySelectorAll("[role=option]")];
const numberOf = new Map(options.map((option, number) => [option, number]));
let chosen = -1;

function element(tag, text = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = name;
  return made;
}

const percent = (p) => (p >= 0.0995 ? (100 * p).toFixed(0) : (100 * p).toPrecision(2)) + " %";

function likeliest(title, name, [nats, rank, flat]) {
  const p = Math.exp(-nats), seen = [];
  for (let k = 0; k < flat.length; k += 2) seen.push([flat[k], flat[k + 1]]);
  if (!seen.some(([other]) => other === name)) seen.push([name, p]);
  const table = element("table"), body = element("tbody"), most = Math.max(...seen.map(([, p]) => p));
  table.append(element("caption", `${title}: ${percent(p)}, rank ${rank.toLocaleString("en")}`), body);
  for (const [other, p] of seen) {
    const row = element("tr", "", other === name ? "this" : ""), bar = element("div", "", "bar"), cell = element("td");
    bar.style.width = `${(100 * p) / most}%`;
    cell.append(bar);
    row.append(element("td", names[other]), element("td", percent(p), "number"), cell);
    body.append(row);
  }
  return table;
}

function choose(number) {
  if (!options.length) return;
  number = Math.max(0, Math.min(options.length - 1, number));
  options[chosen]?.classList.remove("here");
  options[chosen]?.removeAttribute("aria-selected");
  chosen = number;
  const [name, unknown, line, ...guesses] = rows[number], option = options[number], [nats, rank] = guesses;
  option.classList.add("here");
  option.setAttribute("aria-selected", "true");
  option.id = `symbol-${number}`;
  const p = percent(Math.exp(-nats)), first = names[guesses[2][0]];
  option.setAttribute("aria-label", `${names[name]}, ${p}, rank ${rank}${rank > 1 ? `; likeliest: ${first}` : ""}`);
  box.setAttribute("aria-activedescendant", option.id);
  const bits = nats / Math.LN2;
  const facts = `${nats.toFixed(2)} ${unit}, ${bits.toFixed(2)} bits, rank ${rank.toLocaleString("en")} of ${kinds.toLocaleString("en")}`;
  details.replaceChildren(element("h2", names[name]), element("p", facts));
  if (unknown) details.append(element("p", "The model does not know this symbol: it read it as unknown."));
  if (line >= 0) details.append(element("p", `The training text has it, too: “${lines[line]}”`));
  const tables = element("div", "", "guesses");
  tables.append(likeliest("Model", name, guesses.slice(0, 3)));
  if (guesses.length > 3) tables.append(likeliest("N-gram", name, guesses.slice(3)));
  details.append(tables);
}

function inNextLine(step) {
  const from = options[chosen].getBoundingClientRect();
  let best = chosen, distance = Infinity, row = null;
  for (let k = chosen + step; k >= 0 && k < options.length; k += step) {
    const to = options[k].getBoundingClientRect();
    if ((to.top - from.top) * step < from.height / 2) continue;
    row ??= to.top;
    if (Math.abs(to.top - row) > from.height / 2) break;
    if (Math.abs(to.left - from.left) < distance) [best, distance] = [k, Math.abs(to.left - from.left)];
  }
  return best;
}

const keys = {
  ArrowRight: () => chosen + 1,
  ArrowLeft: () => chosen - 1,
  ArrowDown: () => inNextLine(1),
  ArrowUp: () => inNextLine(-1),
  Home: () => 0,
  End: () => options.length - 1,
};

box.addEventListener("keydown", (event) => {
  if (!keys[event.key] || event.ctrlKey || event.altKey || event.metaKey || chosen < 0) return;
  event.preventDefault();
  choose(keys[event.key]());
  options[chosen].scrollIntoView({ block: "nearest" });
});
box.addEventListener("focus", () => choose(Math.max(0, chosen)));
box.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (option) choose(numberOf.get(option));
});
