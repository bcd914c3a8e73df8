// The n-grams, as a tree: on level k the children of node n of the level before are the nodes from first[n] to first[n + 1], in
// the order of their last symbols, `ids`.

const NGRAMS = W.mixture ? W.mixture.ngrams : W;
for (const level of Object.values(NGRAMS)) if (level.children) level.first = sums(level.children);

/** The sums of the numbers before each place, and of all. */
function sums(numbers) {
  const found = new Uint32Array(numbers.length + 1);
  numbers.forEach((number, k) => (found[k + 1] = found[k] + number));
  return found;
}

/** The nodes of the last 1, 2, … symbols before anything is read: none. */
function noContext() {
  return Array(MODEL.order - 1).fill(-1);
}

/** The nodes of the last 1, 2, … symbols up to this id, and ln p [V] of what follows. */
function readNgrams(state, id) {
  const cut = id === EOS && !MODEL.carry; // no context reaches back over the end of a text
  const after = state.map((_, k) => (k === 0 ? id : cut ? -1 : child(NGRAMS[k], state[k - 1], id)));
  const logP = Float64Array.from(NGRAMS[0].log_p.row(0));
  after.forEach((node, k) => {
    if (node < 0) return;
    const { ids, first, log_p } = NGRAMS[k + 1], backoff = NGRAMS[k].backoff.row(0)[node];
    for (let symbol = 0; symbol < logP.length; symbol++) logP[symbol] += backoff;
    for (let at = first[node]; at < first[node + 1]; at++) logP[ids[at]] = log_p.row(0)[at];
  });
  return [after, logP];
}

/** The node of an id under a parent; -1 where there is none. */
function child({ ids, first }, parent, id) {
  if (parent < 0) return -1;
  let [low, high] = [first[parent], first[parent + 1]];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle] < id) low = middle + 1;
    else high = middle;
  }
  return low < first[parent + 1] && ids[low] === id ? low : -1;
}
