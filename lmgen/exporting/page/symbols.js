// Texts as symbols and ids. Classes of characters are Python's.

const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000", WORD = "\\p{L}\\p{N}_";
const UNITS = {
  "char": { pattern: "[^]", lead: "", glue: "" },
  "subword": {
    pattern:
      `'(?:[sdmt]|ll|ve|re)| ?(?:[\\p{L}\\p{Nl}\\p{No}\\u0300-\\u1fff]){1,100}| ?\\p{Nd}{1,100}| ?(?:[^${WORD}${SPACE}]|_){1,100}` +
      `|[${SPACE}]{1,100}(?![^${SPACE}])|[${SPACE}]{1,100}`,
    lead: "",
    glue: "",
    cut: cutToSubwords,
    textOf: (text) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytesOf(text), (c) => c.charCodeAt(0))),
  },
  "word": { pattern: `[^${SPACE}]+`, lead: "", glue: " " },
  "word-punct": { pattern: ` ?[${WORD}]+| ?[^${WORD}${SPACE}]|[${SPACE}]+(?= [^${SPACE}])|[${SPACE}]+`, lead: " ", glue: "" },
  "word-only": { pattern: `[${WORD}]+(?:[-'’][${WORD}]+)*`, lead: "", glue: " " },
};
const UNIT = UNITS[MODEL.unit], MARK = MODEL.unk_token;
const IDS = new Map(MODEL.symbols.map((symbol, k) => [symbol, k + 2]));
if (MARK !== null) for (const spelt of [MARK, UNIT.lead + MARK]) IDS.set(spelt, UNK);
const PATTERN = new RegExp(MARK === null || new RegExp(`^(?:${UNIT.pattern})$`, "u").test(MARK) ? UNIT.pattern : marked(), "gu");

function marked() {
  return `(?:${UNIT.lead})?${MARK.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}|${UNIT.pattern}`;
}

/** A text in the form that the model reads. */
function normal(text) {
  const formed = (some) => (MODEL.normalize ? some.normalize(MODEL.normalize.toUpperCase()) : some);
  return MODEL.lowercase ? formed(formed(text).toLowerCase()) : formed(text);
}

/** The symbols of a text. */
function split(text) {
  const words = text ? (UNIT.lead + normal(text)).match(PATTERN) ?? [] : [];
  return UNIT.cut ? UNIT.cut(words) : words;
}

/** The ids of a text. A symbol that is not in the vocabulary becomes UNK. */
function encode(text) {
  return split(text).map((symbol) => IDS.get(symbol) ?? UNK);
}

/** The symbol of an id: nothing for EOS, the mark of the corpus for UNK. */
function spell(id) {
  return id === EOS ? "" : id === UNK ? UNIT.lead + (MARK ?? "\ufffd") : MODEL.symbols[id - 2];
}

/** The text of symbols. */
function join(symbols) {
  const text = symbols.join(UNIT.glue), own = UNIT.lead && text.startsWith(UNIT.lead) ? text.slice(UNIT.lead.length) : text;
  return UNIT.textOf ? UNIT.textOf(own) : own;
}

/** The text of symbols, of which "" ends a sequence, with what stands between sequences for each of these but the last. */
function joinAll(symbols) {
  const sequences = [[]];
  for (const symbol of symbols) symbol === "" ? sequences.push([]) : sequences.at(-1).push(symbol);
  if (sequences.length > 1 && !sequences.at(-1).length) sequences.pop();
  return sequences.map(join).join(MODEL.between);
}

/** The text of ids. */
function decode(ids) {
  return joinAll(ids.map(spell));
}

let subwords; // the place of each subword, by its bytes

/** Words cut into subwords: again and again, of all neighbours that make a subword, the first in the table are merged. */
function cutToSubwords(words) {
  subwords ??= new Map(MODEL.symbols.map((symbol, k) => [bytesOf(symbol), k]));
  return words.flatMap((word) => {
    const parts = [...bytesOf(word, false)];
    for (;;) {
      let best;
      for (let at = 0; at + 1 < parts.length; at++) {
        const [a, b] = [parts[at], parts[at + 1]], id = subwords.get(a + b);
        const merges = id !== undefined && Math.max(subwords.get(a), subwords.get(b)) < id;
        if (merges && (!best || id < best.id || (id === best.id && a.length < best.first))) best = { id, first: a.length, at };
      }
      if (!best) return parts.map((part) => MODEL.symbols[subwords.get(part)]);
      parts.splice(best.at, 2, parts[best.at] + parts[best.at + 1]);
    }
  });
}

/** The bytes of a text in UTF-8, a character for each; in symbols those that are no whole character are U+DC80 to U+DCFF. */
function bytesOf(text, escaped = true) {
  return Array.from(text, (character) => {
    const c = character.codePointAt(0);
    if (escaped && c >= 0xdc80 && c <= 0xdcff) return String.fromCharCode(c - 0xdc00);
    if (c < 0x80) return character;
    const tail = (bits) => 0x80 | ((c >> bits) & 0x3f);
    if (c < 0x800) return String.fromCharCode(0xc0 | (c >> 6), tail(0));
    if (c < 0x10000) return String.fromCharCode(0xe0 | (c >> 12), tail(6), tail(0));
    return String.fromCharCode(0xf0 | (c >> 18), tail(12), tail(6), tail(0));
  }).join("");
}
