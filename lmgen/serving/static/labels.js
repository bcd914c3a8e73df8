// Labels: those of a text, and the tags of its symbols.

import { ask } from "./api.js";
import { bar, element, later, latest, percent } from "./dom.js";

export function labels(section, page) {
  const { text } = section.querySelector("form").elements;
  const [list, tags] = ["[data-labels]", "[data-tags]"].map((name) => section.querySelector(name));
  const run = latest(section.querySelector("[role=status]"), async (signal) => {
    const found = text.value.trim() ? await ask("/page/labels", page.question({ text: text.value }), signal) : { labels: [], tags: [] };
    list.className = "bars wide";
    list.replaceChildren(
      ...found.labels.map(([name, p]) => bar(name, p, { classes: found.chosen.includes(name) ? "chosen" : "" })),
    );
    tags.hidden = !found.tags.length;
    tags.replaceChildren(
      ...found.tags.map(([tag, p], k) =>
        element("li", { class: tag === "O" ? "" : "marked" }, element("span", { class: "text" }, found.symbols[k]), element("small", {}, `${tag} ${percent(p)}`)),
      ),
    );
  });
  section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
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
