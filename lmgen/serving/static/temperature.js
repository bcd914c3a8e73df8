// Temperature: the probabilities of the next symbol as they are drawn from, and texts by temperature and seed.

import { ask, completions } from "./api.js";
import { bar, element, later, latest, percent, shown } from "./dom.js";

const SHOWN = 16;
const MOST = 24; // characters of the prompt in the heading
const TEMPERATURES = [0.3, 0.7, 1, 1.5];
const SEEDS = 4;

/** The probabilities of −ln p, sorted from the likeliest, at a temperature, and how many of them top-p keeps. */
function drawnFrom(nats, temperature, topP) {
  const weights = nats.map((value) => Math.exp((nats[0] - value) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let kept = 0;
  let sum = 0;
  while (kept < weights.length && sum < topP) sum += weights[kept++] / total;
  const share = weights.slice(0, kept).reduce((sum, weight) => sum + weight, 0);
  return { p: weights.map((weight, k) => (k < kept ? weight / share : 0)), kept };
}

export function temperature(section, page) {
  const [form, seeds] = section.querySelectorAll("form");
  const { prompt, temperature, top_p } = form.elements;
  const [value, valueOfP] = form.querySelectorAll("[data-value]");
  const bars = section.querySelector("[data-bars]");
  const heading = section.querySelector("[data-heading]");
  const choices = section.querySelector("[data-choices]");
  const grid = section.querySelector("[data-grid]");
  const [status, written] = section.querySelectorAll("[role=status]");
  let found = null;

  const chosen = () => Math.round(10 ** temperature.valueAsNumber * 100) / 100;

  const run = latest(status, async (signal) => {
    const text = prompt.value;
    found = await ask("/page/next", page.question({ text }), signal);
    heading.textContent = text ? `The next symbol after “${shown(text.slice(-MOST))}”` : "The first symbol";
    draw();
  });

  function draw() {
    value.textContent = chosen().toFixed(2);
    temperature.setAttribute("aria-valuetext", value.textContent);
    valueOfP.textContent = top_p.valueAsNumber.toFixed(2);
    if (!found) return;
    const own = drawnFrom(found.nats, 1, 1).p;
    const { p, kept } = drawnFrom(found.nats, chosen(), top_p.valueAsNumber);
    const entropy = p.reduce((sum, q) => (q > 0 ? sum - q * Math.log(q) : sum), 0);
    const rest = found.nats.length - SHOWN;
    bars.replaceChildren(
      ...found.symbols.slice(0, SHOWN).map((symbol, k) => bar(shown(symbol), p[k], { tick: own[k], classes: k < kept ? "" : "off" })),
    );
    const others = rest > 0 ? ` The ${rest} others have ${percent(p.slice(SHOWN).reduce((sum, q) => sum + q, 0))} together.` : "";
    const left = kept < found.nats.length ? ` Top-p keeps ${kept}.` : "";
    choices.textContent = `As uncertain as a choice among ${Math.exp(entropy).toFixed(1)} equal symbols.${left}${others}`;
  }

  const write = latest(written, async (signal) => {
    const first = seeds.elements.seed.valueAsNumber;
    const rows = [...new Set([...TEMPERATURES, chosen()])].sort((a, b) => a - b);
    const columns = Array.from({ length: SEEDS }, (_, k) => first + k);
    const cells = [];
    grid.replaceChildren(
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Temperature"), columns.map((seed) => element("th", { scope: "col" }, `seed ${seed}`)))),
      element("tbody", {}, rows.map((row) =>
        element("tr", { class: row === chosen() ? "now" : "" }, element("th", { scope: "row" }, row.toFixed(2)), columns.map((seed) => {
          const cell = element("td", {});
          cells.push([cell, row, seed]);
          return cell;
        })),
      )),
    );
    const length = Math.min(page.model.length, 120);
    await Promise.all(
      cells.map(async ([cell, temperature, seed]) => {
        const asked = page.question({ prompt: prompt.value, temperature, top_p: top_p.valueAsNumber, seed, max_tokens: length });
        for await (const [, text, ended] of completions(asked, signal)) {
          cell.replaceChildren(element("span", { class: "given" }, prompt.value), text, ended === "length" ? element("span", { class: "faint" }, " …") : "");
        }
      }),
    );
    return `${cells.length} texts`;
  });

  prompt.addEventListener("input", later(150, run));
  for (const slider of [temperature, top_p]) slider.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  seeds.addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  return {
    reset() {
      write.stop();
      prompt.value = "";
      grid.replaceChildren();
    },
    show() {
      draw();
      run();
    },
  };
}
