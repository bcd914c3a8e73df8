// Writing and scoring. The random numbers are those of JAX, so that a seed gives the text that lmgen writes for it.

const READERS = { ngrams: [noContext, readNgrams], network: [empty, readNetwork], mixture: [emptyMixture, readMixture] };
const [start, read] = READERS[MODEL.reads]; // the state at first, and one step

/** The symbols that the model writes behind a prompt, one by one: id, whether it is of the prompt, nats, and what else could come. */
function* written(prompt, seed, number, { temperature = 1, topK = 0, topP = 1, minP = 0, maxLength = 1000, lines = MODEL.carry ? 10 : 1, by = null } = {}) {
  const key = foldIn(keyOf(seed), number), forced = prompt;
  let state = start(), last = EOS, ends = 0, uniforms, z;
  for (let at = 0; at < forced.length + maxLength && ends < lines; at++) {
    [state, z] = read(state, last, by);
    if (at % 32 === 0) uniforms = uniform(foldIn(key, at), 32);
    const drawn = at >= forced.length;
    last = drawn ? draw(transformed(z, temperature, topK, topP, minP), uniforms[at % 32]) : forced[at];
    ends += drawn && last === EOS;
    yield { id: last, drawn, p: softmax(z) };
  }
}

/** Each id of a text and its end, with the probabilities of all that could stand there. */
function* scored(ids, by = null) {
  let state = start(), last = EOS, z;
  for (const id of [...ids, EOS]) {
    [state, z] = read(state, last, by);
    yield { id, drawn: false, p: softmax(z) };
    last = id;
  }
}

/** As `scored`, by a network that reads from both sides: of each symbol given all others. */
function* scoredBetween(text) {
  const ids = [EOS, ...text, EOS, ...(MODEL.carry ? [EOS] : [])], xs = ids.map((id) => W.embedding.row(id)); // the last one is given
  const lefts = outputs(W, xs)[1], rights = outputs(W.back, xs.toReversed())[1].reverse();
  for (let at = 1; at + 1 < ids.length; at++) {
    yield { id: ids[at], drawn: false, p: softmax(logits(headInput(joined(lefts[at - 1], rights[at + 1])))) };
  }
}

/** The vector of labels to write by, from their weights by name. */
function vectorOf(weights) {
  const total = Object.values(weights).reduce((a, b) => a + b, 0), by = new Float64Array(W.labels.width);
  for (const [name, weight] of Object.entries(weights)) {
    W.labels.row(MODEL.labels.indexOf(name)).forEach((v, k) => (by[k] += (v * weight) / total));
  }
  return by;
}

/** The logits without UNK, at a temperature, of the likeliest symbols alone where less than all are asked for. */
function transformed(logits, temperature, topK, topP, minP) {
  let z = Float64Array.from(logits);
  z[UNK] = -1e30;
  const most = z[largest(z)];
  z = z.map((one) => (one - most) / Math.max(temperature, 1e-30));
  if (topK) {
    const least = z.toSorted()[Math.max(0, z.length - topK)];
    z = z.map((one) => (one < least ? -1e30 : one));
  }
  if (topP < 1) {
    const p = softmax(z);
    let sum = 0;
    for (const k of [...z.keys()].sort((a, b) => z[b] - z[a] || a - b)) {
      if (sum >= topP) z[k] = -1e30;
      sum += p[k];
    }
  }
  return minP ? z.map((one) => (one < Math.log(minP) ? -1e30 : one)) : z;
}

/** A symbol, by inverting the cumulated probabilities at a number in [0, 1). */
function draw(logits, number) {
  const p = softmax(logits);
  let sum = 0, last = 0;
  for (let k = 0; k < p.length; k++) {
    if (p[k] > 0) last = k;
    if ((sum += p[k]) > number) return k;
  }
  return last;
}

/** The key of a seed. */
function keyOf(seed) {
  const key = [0, seed % 2 ** 32], high = Math.floor(seed / 2 ** 32);
  return high ? foldIn(key, high) : key;
}

function foldIn(key, number) {
  return threefry(key, 0, number);
}

/** Numbers in [0, 1), in 23 bits. */
function uniform(key, count) {
  return vector(count, (k) => {
    const [high, low] = threefry(key, 0, k);
    return ((high ^ low) >>> 9) * 2 ** -23;
  });
}

/** Threefry-2x32: two words of 32 bits scrambled by two others in 20 rounds (Salmon et al. 2011). */
function threefry([first, second], a, b) {
  const keys = [first, second, first ^ second ^ 0x1bd11bda];
  a = (a + keys[0]) | 0;
  b = (b + keys[1]) | 0;
  for (let part = 0; part < 5; part++) {
    for (const turn of part % 2 ? [17, 29, 16, 24] : [13, 15, 26, 6]) {
      a = (a + b) | 0;
      b = ((b << turn) | (b >>> (32 - turn))) ^ a;
    }
    a = (a + keys[(part + 1) % 3]) | 0;
    b = (b + keys[(part + 2) % 3] + part + 1) | 0;
  }
  return [a >>> 0, b >>> 0];
}
