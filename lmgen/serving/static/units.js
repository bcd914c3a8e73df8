// Units: which mark a part of the text, the text by one of them, and what is written while it is held.

import { ask } from "./api.js";
import { element, later, latest, shown } from "./dom.js";
import { figure, states, titled } from "./states.js";
import { Symbols } from "./symbols.js";

export function units(section, page) {
  const text = section.querySelector("[name=text]");
  const form = section.querySelector("[data-hold]");
  const { layer, unit, value, prompt, seed } = form.elements;
  const output = form.querySelector("[data-value]");
  const [matches, hint, both] = ["matches", "shown", "both"].map((name) => section.querySelector(`[data-${name}]`));
  const [status, written] = section.querySelectorAll("[role=status]");
  const symbols = new Symbols(section.querySelector("[data-symbols]"), "Text by a unit", true, (from, to) => match(from, to));
  const titles = () => page.model.layers.map(({ title }) => title);
  const help = hint.textContent;
  let found = null; // the states of the layer whose unit is shown

  const read = latest(status, async (signal) => {
    matches.replaceChildren(element("p", { class: "faint" }, "Nothing is chosen yet."));
    found = text.value ? await states(page, text.value, layer.selectedIndex, "h", signal) : null;
    symbols.set(found ? found.pieces : []);
    paint();
  });

  const paint = () => {
    if (!found) return;
    const one = unit.valueAsNumber - 1;
    if (!(one >= 0 && one < found.units)) return;
    hint.textContent = `Coloured by ${titled(layer.selectedIndex, one, titles())}. ${help}`;
    symbols.paint((k) => {
      const number = found.at(k, one);
      const level = Math.min(9, Math.round((9 * Math.abs(number)) / found.scale));
      return { classes: level ? `${number < 0 ? "n" : "s"}${level}` : "", name: `${shown(found.pieces[k])}, ${figure(number)}` };
    });
  };

  const match = latest(status, async (signal, start, end) => {
    if (end - start === found.pieces.length) return "Choose a part of the text, not all of it.";
    const answer = await ask("/page/units", page.question({ text: text.value, start, end }), signal);
    const head = ["Unit", "r", "inside", "outside"].map((name, k) => element("th", { scope: "col", class: k ? "number" : "" }, name));
    const rows = answer.matches.map((one) => {
      const row = element("tr", {});
      const choose = element("button", { type: "button", class: "quiet", onclick: () => pick(one.layer, one.unit, row) }, titled(one.layer, one.unit, titles()));
      const numbers = [one.correlation, one.inside, one.outside].map((number) => element("td", { class: "number" }, figure(number)));
      row.append(element("td", {}, choose), ...numbers);
      return row;
    });
    matches.replaceChildren(
      element("h3", {}, "Units of “", element("span", { class: "text" }, shown(found.pieces.slice(start, end).join("")).slice(0, 40)), "”"),
      element("table", { class: "matches" }, element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows)),
      element("p", { class: "faint" }, "r is the correlation of the unit with being inside; inside and outside are its means."),
    );
  });

  function pick(number, one, row) {
    for (const other of matches.querySelectorAll("tr.now")) other.className = "";
    row.className = "now";
    unit.valueAsNumber = one + 1;
    if (number === layer.selectedIndex) paint();
    else {
      layer.selectedIndex = number;
      colour();
    }
  }

  /** Colour the text by a unit of another layer; the chosen part of the text stays. */
  const colour = latest(status, async (signal) => {
    if (!text.value) return;
    found = await states(page, text.value, layer.selectedIndex, "h", signal);
    paint();
  });

  const hold = latest(written, async (signal) => {
    const holds = [{ layer: layer.selectedIndex, unit: unit.valueAsNumber - 1, value: value.valueAsNumber }];
    const asked = page.question({ prompt: prompt.value, seed: seed.valueAsNumber, holds });
    const { free, held } = await ask("/page/hold", asked, signal);
    const row = (one, k) => {
      const other = held[k];
      let same = 0;
      while (same < one.length && one[same] === other[same]) same++;
      const cells = [one, other].map((text) => element("td", {}, text.slice(0, same), element("mark", {}, text.slice(same))));
      return element("tr", {}, cells);
    };
    const heads = ["free", `unit ${holds[0].unit + 1} held at ${figure(holds[0].value)}`].map((title) => element("th", { scope: "col" }, title));
    both.replaceChildren(element("thead", {}, element("tr", {}, heads)), element("tbody", {}, free.map(row)));
    const changed = free.filter((one, k) => one !== held[k]).length;
    return free.length > 1 ? `${changed} of ${free.length} texts changed` : changed ? "" : "the same text";
  });

  const soon = later(300, read);
  text.addEventListener("input", () => {
    page.text = text.value;
    soon();
  });
  unit.addEventListener("input", paint);
  layer.addEventListener("change", colour);
  value.addEventListener("input", () => (output.textContent = figure(value.valueAsNumber)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    hold();
  });
  return {
    reset() {
      layer.replaceChildren(...page.model.layers.map(({ title }) => element("option", {}, title)));
      layer.parentElement.hidden = page.model.layers.length < 2;
      unit.max = page.model.layers[0].units;
      unit.value = 1;
      output.textContent = figure(value.valueAsNumber);
      both.replaceChildren();
    },
    show() {
      text.value = page.text;
      if (page.unit) [layer.selectedIndex, unit.valueAsNumber] = [page.unit.layer, page.unit.unit + 1];
      page.unit = null;
      read();
    },
  };
}
