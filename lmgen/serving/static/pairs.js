// Pairs: what is written for a source, and the table of where each symbol looked.

import { ask } from "./api.js";
import { element, latest, percent, sends, shown } from "./dom.js";

export function pairs(section, page) {
  const form = section.querySelector("form");
  const { source } = form.elements;
  const result = section.querySelector("[data-result]");
  const table = section.querySelector("[data-alignment]");
  const run = latest(section.querySelector("[role=status]"), async (signal) => {
    const asked = { model: page.model.name, texts: source.value, ...(page.model.attends && source.value.trim() ? { weights: true } : {}) };
    const [found] = (await ask("/predict", asked, signal)).predictions;
    result.textContent = found.text;
    align(found);
    return `probability ${percent(found.probability)}`;
  });

  function align({ weights = [], symbols = [], read = [] }) {
    table.classList.toggle("tall", read.some((symbol) => symbol.length > 2));
    table.replaceChildren(
      element("caption", { class: "faint" }, weights.length ? "Attention in percent" : ""),
      element("thead", {}, element("tr", {}, element("td", {}), read.map((symbol) => element("th", { scope: "col" }, shown(symbol))))),
      element("tbody", {}, weights.map((row, k) =>
        element("tr", {}, element("th", { scope: "row" }, shown(symbols[k])), row.map((weight) =>
          element("td", { class: `s${Math.min(9, Math.floor(10 * weight))}` }, weight >= 0.05 ? String(Math.round(100 * weight)) : ""),
        )),
      )),
    );
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  source.addEventListener("input", () => (page.text = source.value));
  source.addEventListener("keydown", (event) => {
    if (!sends(event)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  return {
    reset() {
      result.textContent = "";
      table.replaceChildren();
      section.querySelector("[data-attends]").hidden = !page.model.attends;
    },
    show() {
      source.value = page.text;
      if (source.value) run();
    },
  };
}
