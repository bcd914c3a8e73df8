// Surprise: a text coloured by what the model expected, and the alternatives of each symbol.

import { ask, completions } from "./api.js";
import { bar, element, later, latest, percent, shown, UNKNOWN } from "./dom.js";
import { Symbols } from "./symbols.js";

const BITS = 1 / Math.LN2;

export function surprise(section, page) {
  const text = section.querySelector("[name=text]");
  const details = section.querySelector("[data-details]");
  const copies = section.querySelector("[data-copies]");
  const lacks = section.querySelector("[data-lacks]");
  const undo = section.querySelector("[data-undo]");
  const symbols = new Symbols(section.querySelector("[data-symbols]"), "Text by surprise", false, (k) => detail(k));
  const empty = [...details.childNodes];
  let found = null;
  let own = null; // the user's text, before the model wrote on

  section.querySelector(".scale").append(
    ...Array.from({ length: 10 }, (_, bits) => element("li", { class: `s${bits}` }, bits === 9 ? "9+" : String(bits))),
  );

  const run = latest(section.querySelector("[role=status]"), async (signal) => {
    if (!text.value) {
      symbols.set([]);
      copies.replaceChildren();
      details.replaceChildren(...empty);
      return "";
    }
    // The colours come first: to compare with the corpus takes longer the first time.
    for (const compare of [false, true]) {
      const answer = await ask("/page/explain", page.question({ text: text.value, compare }), signal);
      const chosen = compare ? symbols.to : null;
      found = answer;
      if (!compare) {
        symbols.set(found.symbols.map(({ text }) => text));
        details.replaceChildren(...empty);
      }
      symbols.paint(look);
      if (chosen !== null) detail(chosen);
      copied();
    }
    const predicted = found.symbols.filter(({ nats }) => nats !== null);
    const bits = predicted.reduce((sum, { nats }) => sum + nats * BITS, 0) / predicted.length;
    lacks.hidden = found.compared;
    return `${predicted.length} symbols, ${bits.toFixed(2)} bits each`;
  });

  function look(k) {
    const { text, nats, known, copied } = found.symbols[k];
    if (nats === null) return { classes: "", name: "end of a sequence, given" };
    const bits = nats * BITS;
    const notes = [copied && "copied", !known && "unknown"].filter(Boolean);
    return { classes: [`s${Math.min(9, Math.floor(bits))}`, ...notes].join(" "), name: [shown(text), `${bits.toFixed(1)} bits`, ...notes].join(", ") };
  }

  function detail(k) {
    const symbol = found.symbols[k];
    if (symbol.nats === null) {
      details.replaceChildren(element("p", { class: "faint" }, "A sequence ends here: that is given, not predicted."));
      return;
    }
    const figures = [
      ["probability", percent(Math.exp(-symbol.nats))],
      ["surprise", `${(symbol.nats * BITS).toFixed(1)} bits`],
      ["rank", `${symbol.rank}`],
      ...(symbol.known ? [] : [["", "not in the vocabulary"]]),
      ...(symbol.ngram ? [["n-gram", `${percent(Math.exp(-symbol.ngram.nats))}, rank ${symbol.ngram.rank}`]] : []),
    ];
    const on = page.model.views.includes("write");
    details.replaceChildren(
      element("p", { class: "big" }, shown(symbol.text)),
      element("dl", { class: "figures" }, figures.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
      element("h3", {}, on ? "The model expected: choose one to write on" : "The model expected"),
      expected("The model expected", symbol.alternatives, symbol, on ? (other) => writeOn(k, other) : null),
      ...(symbol.ngram ? [element("h3", {}, "The n-gram expected"), expected("The n-gram expected", symbol.ngram.alternatives, symbol)] : []),
    );
  }

  function expected(name, alternatives, symbol, choose = null) {
    const rows = alternatives.map(([other, p]) =>
      bar(shown(other), p, {
        choose: choose && other !== "" && other.trim() !== UNKNOWN ? () => choose(other) : null,
        name: `Write on with ${shown(other)}`,
        classes: other === symbol.symbol ? "chosen" : "",
      }),
    );
    return element("ol", { class: "bars", "aria-label": name }, rows);
  }

  /** Put another symbol in the place of one, and let the model write what follows. */
  const writeOn = latest(section.querySelector("[role=status]"), async (signal, k, other) => {
    own ??= text.value;
    const before = found.symbols.slice(0, k).map(({ text }) => text).join("");
    const start = before + spaced(k, other);
    text.value = start;
    undo.hidden = false;
    const asked = page.question({ prompt: start, max_tokens: page.model.length, seed: Math.floor(Math.random() * 2 ** 31), stream: true });
    for await (const [, part] of completions(asked, signal)) text.value += part;
    page.text = text.value;
    await run();
    symbols.select(k);
  });

  /** A symbol as it stands in the text: words have their space before them, but at the beginning of a sequence. */
  function spaced(k, symbol) {
    const begins = k === 0 || found.symbols[k - 1].symbol === "";
    if (begins && page.model.unit === "word-punct") return symbol.trimStart() || symbol;
    return !begins && (page.model.unit === "word" || page.model.unit === "word-only") ? ` ${symbol}` : symbol;
  }

  function copied() {
    const spans = found.copies.map(({ text, line }) => element("li", {}, element("span", { class: "text copied" }, text), text === line ? " is in the corpus" : " is copied from ", text === line ? null : element("span", { class: "text faint" }, line)));
    copies.replaceChildren(...(spans.length ? [element("h3", {}, "Copied from the corpus"), element("ul", {}, spans)] : []));
  }

  const soon = later(250, run);
  text.addEventListener("input", () => {
    page.text = text.value;
    own = null;
    undo.hidden = true;
    soon();
  });
  undo.firstElementChild.addEventListener("click", () => {
    page.open("surprise", own);
    own = null;
    undo.hidden = true;
    text.focus();
  });
  return {
    reset() {
      own = null;
      undo.hidden = true;
    },
    show() {
      text.value = page.text;
      run();
    },
  };
}
