// Labels of texts, tags of symbols.

/** What a text is: `labels`, the likeliest first, and `tags`, one for each of its `symbols`, with probabilities. */
function predict(text) {
  const symbols = parted(split(text)), found = { symbols };
  if (!symbols.length) return found;
  const xs = ["", ...symbols, ""].map(wordVector), lefts = outputs(W, xs.slice(0, -1))[1].slice(1);
  const rights = W.back ? outputs(W.back, xs.slice(1).reverse())[1].reverse() : null;
  let hs = rights ? lefts.map((h, k) => joined(h, rights[k])) : lefts;
  if (W.heads.norm) hs = hs.map((h) => normalised(h, W.heads.norm.gain, W.heads.norm.shift));
  if (W.heads.labels) {
    const N = MODEL.size, mean = vector(hs[0].length, (k) => hs.reduce((sum, h) => sum + h[k], 0) / hs.length);
    const lasts = MODEL.pool === "mean" ? [] : [hs.at(-1).subarray(0, N), hs[0].subarray(N)];
    const z = calibrated("labels", joined(...lasts, ...(MODEL.pool === "last" ? [] : [mean])));
    found.labels = ranked(MODEL.several ? z.map(sigmoid) : softmax(z), MODEL.labels);
  }
  if (W.heads.tags) {
    const p = hs.map((h) => softmax(calibrated("tags", h)));
    found.tags = (W.follows ? viterbi(p) : p.map(largest)).map((k, at) => [MODEL.tags[k], p[at][k]]);
    found.of = p;
  }
  return found;
}

/** Words, with the marks at the ends of unknown ones as words of their own, if training has seen these marks as words. Nothing is
 * cut where a mark stands alone already. */
function parted(words) {
  const isMark = (word) => /^[\p{P}\p{S}]$/u.test(word);
  if (MODEL.unit !== "word" || words.some(isMark)) return words;
  const cuts = (word, mark) => word.length > 1 && !IDS.has(word.join("")) && isMark(mark) && (IDS.get(mark) ?? MODEL.words) < MODEL.words;
  return words.flatMap((spelt) => {
    let word = [...spelt];
    const before = [], after = [];
    while (cuts(word, word[0])) before.push(word.shift());
    while (cuts(word, word.at(-1))) after.unshift(word.pop());
    return [...before, word.join(""), ...after];
  });
}

/** Names with their probabilities, the likeliest first. */
function ranked(p, names) {
  return [...p.keys()].sort((a, b) => p[b] - p[a] || a - b).map((k) => [names[k], p[k]]);
}

/** The logits of a head, by the temperature at which its probabilities are calibrated. */
function calibrated(head, h) {
  return product(h, W.heads[head].W, W.heads[head].b).map((z) => z / (MODEL.temperature[head] ?? 1));
}

/** What the network reads of a symbol, of its letters, and of vectors made elsewhere; "" is the end of a text. */
function wordVector(word) {
  const id = word ? IDS.get(word) ?? (MODEL.vectors ? IDS.get(word.toLowerCase()) : undefined) ?? UNK : EOS;
  let x = Float64Array.from(W.embedding.row(id < MODEL.words ? id : UNK));
  if (W.letters) {
    const rows = features(IDS.get(word) === UNK ? "" : word).map((one) => W.letters.row(crc32(bytesOf(one, false)) % W.letters.height));
    for (const row of rows) row.forEach((v, k) => (x[k] += v / Math.sqrt(rows.length)));
  }
  return W.vectors ? joined(x, W.vectors.row(id)) : x;
}

// Numbers that are digits to Python, beside those of \p{Nd}.
const DIGIT = new RegExp(
  "[\\p{Nd}²³¹⁰⁴-⁹₀-₉፩-፱᧚①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒\\u{10a40}-\\u{10a43}\\u{10e60}-\\u{10e68}\\u{11052}-\\u{1105a}\\u{1f100}-\\u{1f10a}]",
  "u",
);

/** At most 64 features of a word: its letters with both ends marked, their n-grams, its shape, what is remarkable in it. */
function features(word) {
  const whole = `<${word.toLowerCase()}>`, characters = [...word];
  if (characters.length > 200) characters.splice(100, characters.length - 200);
  word = characters.join("");
  const letters = [...`<${word.toLowerCase()}>`], shape = characters.map(letterClass), cut = (a, b) => letters.slice(a, b).join("");
  const ends = [2, 3, 4, 5].flatMap((n) => [cut(0, n), cut(-n)]);
  const short = [...shape.join("").replace(/([^])\1+/gu, "$1")];
  const traits = {
    capital: isUpper(characters[0] ?? ""),
    inner: characters.slice(1).join("") !== characters.slice(1).join("").toLowerCase() && !isUpper(word),
    upper: isUpper(word),
    digit: DIGIT.test(word),
    number: !/\p{L}/u.test(word) && DIGIT.test(word),
    hyphen: characters.slice(1, -1).includes("-"),
    mark: !/[\p{L}\p{N}]/u.test(word),
    foreign: /[^\0-\x7f]/.test(word),
  };
  const has = Object.keys(traits).filter((name) => traits[name]).map((name) => `has ${name}`);
  const kept = new Set([whole, ...ends, `shape ${shape.slice(0, 10).join("")}`, `short ${short.slice(0, 10).join("")}`, ...has]);
  const grams = new Set();
  for (let n = 3; n < 7; n++) for (let i = 0; i + n <= letters.length; i++) grams.add(cut(i, i + n));
  const others = [...grams].filter((gram) => !kept.has(gram)), room = Math.min(others.length, 64 - kept.size);
  return [...kept, ...Array.from({ length: room }, (_, k) => others[Math.floor((k * others.length) / room)])];
}

const isUpper = (text) => /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);
const letterClass = (c) => (isUpper(c) ? "X" : DIGIT.test(c) ? "d" : /\p{L}/u.test(c) ? "x" : c);

const CRC = Int32Array.from({ length: 256 }, (_, k) => {
  for (let bit = 0; bit < 8; bit++) k = k & 1 ? (k >>> 1) ^ 0xedb88320 : k >>> 1;
  return k;
});

function crc32(bytes) {
  let crc = -1;
  for (let k = 0; k < bytes.length; k++) crc = CRC[(crc ^ bytes.charCodeAt(k)) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The likeliest tags of which each may follow the one before, from their probabilities [n, K]; where none may, those that break
 * the fewest rules. */
function viterbi(p) {
  const K = p[0].length, cost = (from, to) => (W.follows.row(from)[to] ? 0 : -1e3 * (p.length + 1)); // K: the start and the end
  const score = (at, k) => Math.max(-1e3, Math.log(Math.max(p[at][k], 1e-300)));
  let best = vector(K, (k) => score(0, k) + cost(K, k));
  const before = p.slice(1).map((_, at) => {
    const came = Array.from({ length: K }, (_, to) => largest(best.map((one, from) => one + cost(from, to))));
    best = vector(K, (to) => best[came[to]] + cost(came[to], to) + score(at + 1, to));
    return came;
  });
  const ids = [largest(best.map((one, from) => one + cost(from, K)))];
  for (const came of before.reverse()) ids.unshift(came[ids[0]]);
  return ids;
}
