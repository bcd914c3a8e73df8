// Blanks: a cloze model fills them.

import { ask } from "./api.js";
import { bar, latest, sends } from "./dom.js";

export function blanks(section, page) {
  const form = section.querySelector("form");
  const { text, count } = form.elements;
  const list = section.querySelector("[data-fillings]");
  const run = latest(section.querySelector("[role=status]"), async (signal) => {
    const { fillings } = await ask("/page/fill", page.question({ text: text.value, count: count.valueAsNumber }), signal);
    list.replaceChildren(...fillings.map(({ text, probability }) => bar(text, probability)));
    return fillings.length ? "" : "no symbol fits";
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  text.addEventListener("keydown", (event) => {
    if (!sends(event)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  return {
    reset() {
      list.replaceChildren();
      count.max = page.bounds.texts;
      text.value = page.model.blanked;
      section.querySelector("[data-unit]").textContent = page.model.unit === "char" ? ", one for each letter" : ", one for each word";
    },
    show() {
      if (text.value) run();
    },
  };
}
