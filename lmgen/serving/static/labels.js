// Labels: those of a text, and the tags of its symbols.

import { ask } from "./api.js";
import { bar, element, later, latest, percent } from "./dom.js";

const MOST = 40;

export function labels(section, page) {
  const { text } = section.querySelector("form").elements;
  const [list, tagged] = ["[data-labels]", "[data-tags]"].map((name) => section.querySelector(name));
  const run = latest(section.querySelector("[role=status]"), async (signal) => {
    const answer = text.value.trim() ? await ask("/predict", { model: page.model.name, texts: text.value, top: MOST }, signal) : { predictions: [{}] };
    const [{ label, labels, top = [], tokens = [], tags = [], probabilities = [] }] = answer.predictions;
    const chosen = labels?.map((one) => one.label) ?? [label];
    list.replaceChildren(
      ...top.map((one) => bar(one.label, one.probability, { classes: chosen.includes(one.label) ? "chosen" : "" })),
    );
    tagged.hidden = !tags.length;
    tagged.replaceChildren(
      ...tags.map((tag, k) =>
        element("li", { class: tag === "O" ? "" : "marked" }, element("span", { class: "text" }, tokens[k]), element("small", {}, `${tag} ${percent(probabilities[k])}`)),
      ),
    );
  });
  const soon = later(250, run);
  text.addEventListener("input", () => {
    page.text = text.value;
    soon();
  });
  return {
    reset() {},
    show() {
      text.value = page.text;
      run();
    },
  };
}
