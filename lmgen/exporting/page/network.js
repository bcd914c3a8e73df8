// The network: stacked cells between an embedding and a head.

/** The state of the layers before anything is read. */
function empty() {
  const zeros = () => Object.fromEntries(Object.entries(MODEL.state).map(([name, n]) => [name, n ? new Float64Array(n) : []]));
  return Object.values(W.layers).map(zeros);
}

/** The next state of a stack of layers that reads x [D], and its output: that of the last layer [N], or of all layers. */
function step(stack, state, x, first) {
  const symbol = x, outs = [];
  const after = Object.entries(stack.layers).map(([k, p]) => {
    const read = MODEL.skip && k !== "0" ? joined(x, symbol) : x;
    const a = first && k === "0" ? first : inputs(p, stack.norms ? normalised(read, stack.norms[k].gain, stack.norms[k].shift) : read);
    const s = CELLS[MODEL.cell](p, state[k], a);
    x = MODEL.residual && k !== "0" ? plus(x, s.h) : s.h;
    outs.push(x);
    return s;
  });
  return [after, MODEL.skip ? outs.reduce((some, one) => joined(some, one)) : x];
}

/** The state of a stack after inputs [n, D], read from an empty one, and its outputs [n, N]. */
function outputs(stack, xs) {
  let state = empty(), h;
  const hs = xs.map((x) => ([state, h] = step(stack, state, x))[1]);
  return [state, hs];
}

const firsts = new Map(); // what the first layer computes of a symbol, by its id
const MOST_FIRSTS = 1000;

/** The state after reading an id, and the logits [V] of what follows; `by` is added to what the first layer reads. */
function readNetwork(state, id, by) {
  if (id === EOS && !MODEL.carry) state = empty();
  const x = by ? plus(W.embedding.row(id), by) : W.embedding.row(id);
  let first;
  if (!by) {
    if (firsts.size > MOST_FIRSTS) firsts.clear();
    if (!firsts.has(id)) firsts.set(id, inputs(W.layers[0], W.norms ? normalised(x, W.norms[0].gain, W.norms[0].shift) : x));
    first = firsts.get(id);
  }
  const [after, h] = step(W, state, x, first);
  return [after, logits(headInput(h))];
}

/** What the head reads: the output of the last layer, normalised if the head has a norm. */
function headInput(h) {
  return W.head.gain ? normalised(h, W.head.gain, W.head.shift) : h;
}

/** The logits of all that can follow, from what the head reads. */
function logits(h) {
  const { head } = W;
  if (head.W) return product(h, head.W, head.b);
  const out = dots(head.P ? product(h, head.P) : h, W.embedding.data, head.b.length);
  return out.map((z, k) => z + head.b[k]);
}
