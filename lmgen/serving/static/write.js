// Write: texts that arrive symbol by symbol.

import { completions } from "./api.js";
import { element, latest, REPLACED, sends } from "./dom.js";

export function write(section, page) {
  const form = section.querySelector("form");
  const { prompt, seed, go, stop, again } = form.elements;
  const list = section.querySelector(".texts");

  const run = latest(section.querySelector("[role=status]"), async (signal) => {
    const number = (name) => form.elements[name].valueAsNumber;
    const texts = Array.from({ length: number("n") }, () => line(prompt.value));
    list.replaceChildren(...texts.map(({ row }) => row));
    go.hidden = !(stop.hidden = false);
    try {
      const settings = Object.fromEntries(["temperature", "top_p", "seed", "n", "max_tokens"].map((name) => [name, number(name)]));
      const asked = page.question({ prompt: prompt.value, stream: true, ...settings });
      for await (const [index, part, ended] of completions(asked, signal)) texts[index].add(part, ended);
    } finally {
      if (signal.reason !== REPLACED) stop.hidden = !(go.hidden = false);
    }
    return texts.length === 1 ? "written" : `${texts.length} texts`;
  });

  /** A line of the list: the prompt, what is written, and the way to its surprise. */
  function line(given) {
    const text = element("span", {});
    const note = element("span", { class: "faint" });
    const look = element("button", { type: "button", class: "quiet", hidden: true, onclick: () => page.open("surprise", given + text.textContent) }, "surprise");
    const row = element("li", {}, element("span", { class: "text" }, element("span", { class: "given" }, given), text, note), look);
    return {
      row,
      add(part, ended) {
        text.append(part);
        if (!ended) return;
        note.textContent = ended === "length" ? " …" : "";
        look.hidden = false;
        look.setAttribute("aria-label", `Surprise of ${given}${text.textContent}`);
      },
    };
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  prompt.addEventListener("keydown", (event) => {
    if (!sends(event)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  stop.addEventListener("click", () => run.stop());
  again.addEventListener("click", () => {
    seed.valueAsNumber = (seed.valueAsNumber || 0) + 1;
    form.requestSubmit();
  });
  return {
    reset() {
      run.stop();
      list.replaceChildren();
      const { n, max_tokens } = form.elements;
      [n.max, max_tokens.max] = [page.bounds.texts, page.bounds.length];
      [n.valueAsNumber, max_tokens.valueAsNumber] = [page.model.count, page.model.length];
      prompt.value = "";
    },
    show() {},
  };
}
