"use strict";
// What the page shows. All text is put in as text, never as markup.

const BITS = Math.log2(Math.E), SLICE = 12; // milliseconds of work before the page may draw again
const $ = (selector, within = document) => within.querySelector(selector);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- symbols -----------------------------------------------------------------------------------------------------------

const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/u; // what has no look of its own, or changes that of its neighbours
const JOINERS = "\u200c\u200d";

/** What shows a symbol: characters that cannot be seen become signs. */
function shown(symbol) {
  if (symbol === "") return [element("span", { className: "sign", textContent: MODEL.carry ? "↵" : "end" })];
  return Array.from(symbol, (character) => {
    if (!UNSEEN.test(character) || JOINERS.includes(character)) return character;
    const code = character.codePointAt(0), signs = { "\n": "↵", "\t": "⇥" };
    const byte = MODEL.unit === "subword" && code >= 0xdc80 && code <= 0xdcff;
    const sign = signs[character] ?? (byte ? `\\x${(code - 0xdc00).toString(16)}` : `U+${code.toString(16).toUpperCase().padStart(4, "0")}`);
    return element("span", { className: "sign", textContent: sign });
  });
}

/** The name of a symbol, for those who hear it. */
function spoken(symbol) {
  if (symbol.trim() === "") return { "": "end of text", " ": "space", "\n": "line break", "\t": "tab" }[symbol] ?? "white space";
  return shown(symbol).map((part) => part.textContent ?? part).join("");
}

const bits = (p) => -Math.log2(p);
const percent = (p) => (p >= 0.001 ? `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %` : p.toExponential(1));

/** A place for symbols: arrow keys go from one to the next, and choosing one calls `chosen` with its number. */
function textOf(label, chosen) {
  const box = element("div", { className: "text", dir: "auto", role: "group" });
  box.setAttribute("aria-label", `${label}: arrow keys move, Enter shows what else could stand there`);
  const symbols = () => [...box.querySelectorAll(".symbol")];
  const to = (symbol) => {
    if (!symbol) return;
    symbols().forEach((one) => (one.tabIndex = -1));
    symbol.tabIndex = 0;
    symbol.focus();
  };
  box.onclick = (event) => {
    const symbol = event.target.closest(".symbol");
    if (symbol) to(symbol), chosen(symbols().indexOf(symbol), symbol);
  };
  box.onkeydown = (event) => {
    const all = symbols(), at = all.indexOf(event.target);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next !== undefined) to(all[next]);
    else if (event.key === "Enter" || event.key === " ") event.target.click();
    else return;
    event.preventDefault();
  };
  return box;
}

/** Put a symbol at the end of a text, coloured by its surprise. */
function put(box, symbol, p, given = false) {
  const first = !box.firstChild, own = first && UNIT.lead && symbol.startsWith(UNIT.lead) ? symbol.slice(UNIT.lead.length) : symbol;
  const level = Math.min(9, Math.max(0, Math.floor(bits(p)))), name = `${spoken(own)}, ${bits(p).toFixed(1)} bits`;
  const span = element("span", { className: `symbol s${level}${given ? " given" : ""}`, tabIndex: first ? 0 : -1, title: name }, ...shown(own));
  span.setAttribute("role", "button");
  span.setAttribute("aria-label", name);
  if (!first && UNIT.glue && symbol !== "") box.append(UNIT.glue);
  box.append(span);
  if (symbol === "" || symbol === "\n") box.append("\n");
}

/** What else could stand at a place, below its text; choosing one calls `taken` with it. */
function showChoices(span, p, choices, says, taken) {
  const box = span.closest(".text"), open = span.getAttribute("aria-expanded") === "true";
  for (const one of document.querySelectorAll(".choices")) one.remove();
  for (const one of document.querySelectorAll("[aria-expanded]")) one.removeAttribute("aria-expanded");
  if (open) return;
  span.setAttribute("aria-expanded", "true");
  const items = choices.map(([symbol, q]) => {
    const button = element("button", { type: "button", onclick: () => taken(symbol) }, ...shown(symbol), ` ${percent(q)}`);
    button.setAttribute("aria-label", `${spoken(symbol)}, ${percent(q)}: ${says}`);
    button.style.backgroundSize = `${100 * q}% 4px`;
    return element("li", {}, button);
  });
  const panel = element("section", { className: "choices" }, element("p", {}, `Probability ${percent(p)}, ${bits(p).toFixed(2)} bits. ${says[0].toUpperCase()}${says.slice(1)}:`), element("ul", {}, ...items));
  panel.setAttribute("aria-label", "What else could stand here");
  panel.onkeydown = (event) => {
    if (event.key !== "Escape") return;
    showChoices(span, p, choices, says, taken);
    span.focus();
  };
  box.after(panel);
  panel.scrollIntoView({ block: "nearest" });
}

/** Run a generator to its end, a slice of time after the other; `each` gets what it yields. Ends early where `going` is false. */
async function drained(generator, each, going) {
  let until = performance.now() + SLICE;
  for (const one of generator) {
    each(one);
    if (performance.now() < until) continue;
    await new Promise((done) => setTimeout(done));
    if (!going()) return false;
    until = performance.now() + SLICE;
  }
  return true;
}

// ---- write -------------------------------------------------------------------------------------------------------------

const MOST = 5_000; // symbols of a text that are coloured
let run = 0; // each ends those before it

function setUpWriting(section) {
  const form = $("form", section), status = $("[role=status]", section), list = $(".results", section), fields = form.elements;
  section.hidden = false;
  if (MODEL.carry) fields.count.value = 1;
  if (MODEL.labels) {
    $("#label-field").hidden = false;
    fields.label.append(...MODEL.labels.map((name) => element("option", { value: name, textContent: spoken(name) })));
  }
  const settings = () => ({ temperature: fields.temperature.valueAsNumber, topP: fields.topP.valueAsNumber, by: MODEL.labels ? vectorOf({ [fields.label.value]: 1 }) : null });

  /** Write one text into a new item of the list. */
  async function write(prompt, number, how, seed, going, before = null) {
    const ids = [], item = element("li");
    const box = textOf("Text", (at, span) => {
      const probabilities = [...scored(ids.slice(0, at), how.by)].at(-1).p;
      showChoices(span, probabilities[ids[at]], choicesOf(probabilities), "write on from here with", async (symbol) => {
        const mine = ++run, id = idOf(symbol);
        const made = await write([...ids.slice(0, at), id], number, settings(), seed, () => mine === run, item);
        $(".symbol", made)?.focus();
      });
    });
    item.append(box);
    before ? before.after(item) : list.append(item);
    await drained(written(prompt, seed, number, how), ({ id, drawn, p }) => {
      ids.push(id);
      put(box, spell(id), p[id], !drawn);
    }, going);
    return item;
  }

  form.onsubmit = async (event) => {
    event.preventDefault();
    const mine = ++run, going = () => mine === run, prompt = encode(fields.prompt.value), count = fields.count.valueAsNumber;
    const seed = fields.seed.valueAsNumber, how = settings(), begun = performance.now();
    list.replaceChildren();
    fields.stop.hidden = false;
    status.textContent = "Writing …";
    for (let number = 0; number < count && going(); number++) await write(prompt, number, how, seed, going);
    if (mine !== run) return;
    fields.stop.hidden = true;
    const symbols = list.querySelectorAll(".symbol").length, seconds = (performance.now() - begun) / 1000;
    const unknown = [...new Set(split(fields.prompt.value))].filter((symbol) => !IDS.has(symbol)).map(spoken).join(" ");
    status.textContent =
      `Wrote ${count} text${count === 1 ? "" : "s"} of ${symbols.toLocaleString("en")} symbols in ${seconds.toFixed(1)} s.` +
      (unknown ? ` The model does not know ${unknown}.` : "");
  };
  fields.anew.onclick = () => {
    fields.seed.value = crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
    form.requestSubmit();
  };
  fields.stop.onclick = () => {
    run++;
    fields.stop.hidden = true;
    status.textContent = "Stopped.";
  };
}

function choicesOf(p) {
  return [...p.keys()].sort((a, b) => p[b] - p[a] || a - b).filter((id) => id !== UNK).slice(0, MOST_CHOICES).map((id) => [spell(id), p[id]]);
}

// ---- read, label, translate --------------------------------------------------------------------------------------------

/** Call `show` with the text of a section's field, soon after it changes. */
function whenChanged(section, show) {
  const field = $("textarea", section), status = $("[role=status]", section), result = $(".result", section);
  let waiting;
  section.hidden = false;
  field.oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const text = field.value, going = () => field.value === text;
      result.replaceChildren();
      status.textContent = "";
      if (text) show(text, result, status, going, field);
    }, 200);
  };
}

/** The symbols of a text whose sequences are parted as in the corpus, "" between them. */
function symbolsOf(text) {
  return MODEL.between ? text.split(MODEL.between).flatMap((part, k) => (k ? ["", ...split(part)] : split(part))) : split(text);
}

const idOf = (symbol) => (symbol === "" ? EOS : IDS.get(symbol) ?? UNK);

/** The symbols of a text with what could stand there; to a network that reads from both sides, the ends of its sequences are
 * given. */
function* judged(ids) {
  if (MODEL.task !== "cloze") return yield* scored(ids);
  if (MODEL.carry) return yield* scoredBetween(ids);
  let from = 0;
  for (let end; (end = ids.indexOf(EOS, from)) >= 0; from = end + 1) {
    yield* scoredBetween(ids.slice(from, end));
    yield { id: EOS, p: vector(MODEL.symbols.length + 2, (k) => (k === EOS ? 1 : 0)), given: true };
  }
  yield* scoredBetween(ids.slice(from));
}

async function colour(text, result, status, going, field) {
  const symbols = symbolsOf(text).slice(0, MOST), ids = symbols.map(idOf), found = [], between = MODEL.task === "cloze";
  let nats = 0, counted = 0;
  const box = textOf("Coloured text", (at, span) => {
    const from = MODEL.carry ? 0 : ids.slice(0, at).lastIndexOf(EOS) + 1; // where its sequence begins
    const others = between ? [...judged(ids)][at].p : [...scored(ids.slice(from, at))].at(-1).p;
    showChoices(span, found[at], choicesOf(others), between ? "put here instead" : "go on from here with", (symbol) => {
      const all = [...symbols.slice(0, at), symbol, ...(between ? symbols.slice(at + 1) : [])];
      field.value = joinAll(symbol === "" && !between ? [...all, ""] : all); // a line that ends makes room for the next
      field.dispatchEvent(new Event("input"));
      field.focus();
    });
  });
  result.append(box);
  const whole = await drained(judged(ids), ({ id, p, given }) => {
    put(box, symbols[found.length] ?? "", p[id]);
    found.push(p[id]);
    if (given) return;
    nats -= Math.log(p[id]);
    counted++;
  }, going);
  if (!whole) return;
  const unknown = ids.filter((id) => id === UNK).length, each = (nats * BITS) / Math.max(1, counted);
  status.textContent =
    `${nats.toFixed(3)} ${between ? "pseudo-nats" : "nats"}, ${each.toFixed(2)} bits a symbol over ${counted.toLocaleString("en")} symbols` +
    (unknown ? `, ${unknown} of them unknown.` : ".") +
    (ids.length === MOST ? ` A text is coloured up to ${MOST.toLocaleString("en")} symbols.` : "");
}

function label(text, result) {
  const found = predict(text.replace(/\n+$/, ""));
  if (found.labels) {
    const rows = found.labels.slice(0, MOST_CHOICES).map(([name, p]) => {
      const bar = element("span", { className: "bar" });
      bar.style.width = `${10 * p}rem`;
      return element("tr", {}, element("th", { scope: "row", dir: "auto" }, ...shown(name)), element("td", { className: "number" }, percent(p)), element("td", {}, bar));
    });
    const head = element("tr", {}, ...["Label", "Probability", ""].map((title) => element(title ? "th" : "td", title ? { scope: "col" } : {}, title)));
    result.append(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }
  if (found.tags) {
    const tagged = found.tags.map(([tag, p], at) =>
      element("span", { className: `tagged${tag === "O" ? "" : " marked"}`, title: percent(p) }, ...shown(found.symbols[at].trim() || found.symbols[at]), element("small", {}, ...shown(tag))));
    result.append(element("p", { className: "text", dir: "auto" }, ...tagged));
  }
}

async function translate(text, result, status, going) {
  for (const source of text.split("\n").filter((line) => line.trim())) {
    const item = element("div");
    result.append(item);
    if (!(await follow(item, source, [], going))) return;
  }
}

/** The translation of a source behind some symbols, each of which can be replaced. */
async function follow(item, source, forced, going) {
  const found = [];
  const box = textOf("Translation", (at, span) => {
    showChoices(span, found[at].p, found[at].choices, "go on from here with", (symbol) => {
      item.replaceChildren();
      follow(item, source, [...found.slice(0, at).map((one) => one.symbol), symbol], going);
    });
  });
  item.append(box);
  return drained(translated(source, forced), (one) => {
    found.push(one);
    put(box, one.symbol, one.p, found.length <= forced.length);
  }, going);
}

// ---- the page ----------------------------------------------------------------------------------------------------------

$("#about").textContent =
  `${MODEL.summary}${MODEL.parameters ? `, ${MODEL.parameters.toLocaleString("en")} parameters` : ""}${MODEL.text ? `, trained on ${MODEL.text}` : ""}` +
  `${MODEL.valid_nats === null ? "" : `; ${MODEL.valid_nats.toFixed(3)} nats on held-out text`}. It computes here: nothing leaves this page.`;
if (["language", "generate"].includes(MODEL.task)) setUpWriting($("#write"));
if (["language", "cloze"].includes(MODEL.task)) whenChanged($("#read"), colour);
if (W.heads) whenChanged($("#predict"), label);
if (MODEL.task === "translate") whenChanged($("#translate"), translate);
if (!W.heads) {
  $("#scale").hidden = false;
  $("#scale").append(...Array.from({ length: 10 }, (_, k) => element("span", { className: `s${k}`, textContent: ` ${k}${k === 9 ? "+" : ""} ` })));
}
