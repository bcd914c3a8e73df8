// Targets for sources: one stack reads `EOS source SEP target`, another the source from the right.

/** The id of SEP; those behind it are symbols of a pair that are not in the vocabulary. */
function separator() {
  return W.embedding.height - 1;
}

/** The symbols that greedy search finds for a source behind those of `forced`, one by one, each with its probability and the
 * likeliest that could stand there. */
function* translated(source, forced = []) {
  const others = [], ids = numbered(split(source), others), given = numbered(forced, others);
  const spelt = (id) => (id > separator() ? others[id - separator() - 1] : spell(id));
  let [state, h, memory] = readSource(ids);
  const longest = 16 * Math.ceil((32 * Math.ceil((ids.length + 2) / 16) + 20) / 16); // as lmgen has it
  for (let at = 0; ids.length && at < longest + given.length; at++) {
    const [p, copies, looked] = following(h, ids, memory), share = (id) => copies.get(id) ?? p[id] ?? 0;
    const best = [...p.keys(), ...copies.keys()].sort((a, b) => share(b) - share(a) || a - b).slice(0, MOST_CHOICES);
    const meant = (id) => (id === UNK && looked.length ? ids[largest(looked)] : id); // of an unknown one, where it looked
    const id = at < given.length ? given[at] : best[0];
    yield { symbol: spelt(meant(id)), p: share(id), choices: best.map((one) => [spelt(meant(one)), share(one)]) };
    if (id === EOS) return;
    [state, h] = step(W, state, vectorOfId(meant(id)));
  }
}

/** The symbols of a target, each with its nats given the source; the last one is its end. */
function scorePair(source, target) {
  const others = [], symbols = [...split(target), ""], ids = numbered(split(source), others);
  const targets = [...numbered(symbols.slice(0, -1), others), EOS];
  let [state, h, memory] = readSource(ids), looked;
  return symbols.map((symbol, at) => {
    [h, looked] = attended(h, memory);
    const p = softmax(logits(h)), id = targets[at], known = id < p.length;
    let own = p[known ? id : UNK];
    if (MODEL.copy) {
      const copied = ids.reduce((sum, one, k) => sum + (one === id ? looked[k] : 0), 0), g = writtenShare(h);
      own = g * (known || copied === 0 ? own : 0) + (1 - g) * copied + 1e-30;
    }
    [state, h] = step(W, state, vectorOfId(id));
    return [symbol, -Math.log(own)];
  });
}

/** The ids of symbols, of which those that are not in the vocabulary are put into others. */
function numbered(symbols, others) {
  return symbols.map((symbol) => {
    if (IDS.has(symbol)) return IDS.get(symbol);
    if (!others.includes(symbol)) others.push(symbol);
    return separator() + 1 + others.indexOf(symbol);
  });
}

function vectorOfId(id) {
  return W.embedding.row(id <= separator() ? id : UNK);
}

/** The state and the output [N] of the first stack after a source and SEP, and the vectors [n, 2 N] to attend to. */
function readSource(ids) {
  const xs = ids.map(vectorOfId), end = vectorOfId(separator());
  const [state, lefts] = outputs(W, [vectorOfId(EOS), ...xs, end]);
  const rights = outputs(W.back, [end, ...xs.toReversed()])[1].slice(1).reverse();
  return [state, lefts.at(-1), rights.map((right, k) => joined(lefts[k + 1], right))];
}

/** What the head reads after the output h [N], and how much it looks at each symbol of the source. */
function attended(h, memory) {
  h = headInput(h);
  if (!MODEL.attention) return [h, []];
  const query = product(h, W.attention), mean = new Float64Array(query.length);
  const looked = memory.length ? softmax(vector(memory.length, (k) => dots(query, memory[k], 1)[0])) : [];
  memory.forEach((row, k) => row.forEach((v, i) => (mean[i] += looked[k] * v)));
  return [product(joined(h, mean), W.join.W, W.join.b).map(Math.tanh), looked];
}

/** The probability that the next symbol is not copied. */
function writtenShare(h) {
  return sigmoid(product(h, W.gate.W, W.gate.b)[0]);
}

/** The probabilities of the ids that can be written, those of the ids that can only be copied, and where it looked. */
function following(h, ids, memory) {
  let looked;
  [h, looked] = attended(h, memory);
  const z = logits(h), copies = new Map();
  if (!MODEL.attention) z[UNK] = -Infinity; // an unknown symbol has no place in the source
  let p = softmax(z);
  if (MODEL.copy) {
    const g = writtenShare(h);
    p[UNK] = 0;
    p = p.map((one) => one * g);
    ids.forEach((id, k) => {
      if (id < p.length) p[id] += (1 - g) * looked[k];
      else copies.set(id, (copies.get(id) ?? 0) + (1 - g) * looked[k]);
    });
  }
  return [p, copies, looked];
}
