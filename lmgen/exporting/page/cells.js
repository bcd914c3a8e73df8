// The cells: the state after one step from parameters p, state s and what the layer computes of its input, a = x W + b. The
// formulas, with their sources, are those of lmgen/nn/cells.py.

function inputs(p, x) {
  if (p.A_1) return x; // of the mogrifier: W comes after the rounds
  if (!p.gain) return product(x, p.W, p.b);
  const own = p.P ? product(x, p.P) : x; // of attention: x, queries, keys and values
  return joined(own, product(normalised(own, p.gain, p.shift), p.W, p.b));
}

const gates = (p, s, a) => product(s.h, p.U, a);
const elman = (phi) => (p, s, a) => ({ h: gates(p, s, a).map(phi) });
const mixed = (z, n, s) => ({ h: vector(s.h.length, (k) => z[k] * n[k] + (1 - z[k]) * s.h[k]) });

function jordan(p, s, a) {
  const h = product(gates(p, s, a).map(Math.tanh), p.V, p.b_y);
  return { h: h.map(Math.tanh) };
}

function tdnn(p, s, a) {
  const N = s.h.length, h = vector(N, (k) => Math.tanh(a[k] + s.due[k]));
  const due = vector(s.due.length, (k) => a[N + k] + (s.due[N + k] ?? 0));
  return { h, due: p.U ? plus(due, product(h, p.U)) : due };
}

function lstm(p, s, a) {
  const N = s.h.length, u = gates(p, s, a);
  const c = vector(N, (k) => sigmoid(u[N + k]) * s.c[k] + sigmoid(u[k]) * Math.tanh(u[3 * N + k]));
  return { h: vector(N, (k) => sigmoid(u[2 * N + k]) * Math.tanh(c[k])), c };
}

function lstmPeephole(p, s, a) {
  const N = s.h.length, u = gates(p, s, a), { v } = p;
  const i = (k) => sigmoid(u[k] + v[k] * s.c[k]), f = (k) => sigmoid(u[N + k] + v[N + k] * s.c[k]);
  const c = vector(N, (k) => f(k) * s.c[k] + i(k) * Math.tanh(u[3 * N + k]));
  return { h: vector(N, (k) => sigmoid(u[2 * N + k] + v[2 * N + k] * c[k]) * Math.tanh(c[k])), c };
}

const lstmOfThree = (forget) => (p, s, a) => {
  const N = s.h.length, u = gates(p, s, a);
  const c = vector(N, (k) => forget(sigmoid(u[k])) * s.c[k] + sigmoid(u[k]) * Math.tanh(u[2 * N + k]));
  return { h: vector(N, (k) => sigmoid(u[N + k]) * Math.tanh(c[k])), c };
};

function lstmCapped(p, s, a) {
  const N = s.h.length, u = gates(p, s, a), f = (k) => sigmoid(u[N + k]);
  const c = vector(N, (k) => f(k) * s.c[k] + Math.min(sigmoid(u[k]), 1 - f(k)) * Math.tanh(u[3 * N + k]));
  return { h: vector(N, (k) => sigmoid(u[2 * N + k]) * Math.tanh(c[k])), c };
}

function lstmMogrifier(p, s, x) {
  let { h } = s;
  const gated = (one, k, other) => {
    const gate = product(product(other, p[`A_${k}`]), p[`B_${k}`]);
    return vector(one.length, (i) => 2 * sigmoid(gate[i]) * one[i]);
  };
  for (let k = 1; p[`A_${k}`]; k++) {
    if (k % 2) x = gated(x, k, h);
    else h = gated(h, k, x);
  }
  return lstm(p, { ...s, h }, product(x, p.W, p.b));
}

function gru(p, s, a) {
  const N = s.h.length, u = product(s.h, p.U), z = vector(N, (k) => sigmoid(a[k] + u[k]));
  return mixed(z, vector(N, (k) => Math.tanh(a[2 * N + k] + sigmoid(a[N + k] + u[N + k]) * (u[2 * N + k] + p.b_u[k]))), s);
}

function gruResetBefore(p, s, a) {
  const N = s.h.length, u = product(s.h, p.U), z = vector(N, (k) => sigmoid(a[k] + u[k]));
  const n = product(vector(N, (k) => sigmoid(a[N + k] + u[N + k]) * s.h[k]), p.U_n);
  return mixed(z, vector(N, (k) => Math.tanh(a[2 * N + k] + n[k])), s);
}

function gruSimple(p, s, a) {
  const N = s.h.length, u = gates(p, s, a);
  return mixed(vector(N, (k) => sigmoid(u[k])), vector(N, (k) => Math.tanh(u[N + k])), s);
}

function minLstm(p, s, a) {
  const N = s.h.length, f = vector(N, (k) => sigmoid(softplus(-a[N + k]) - softplus(-a[k])));
  return mixed(f.map((one) => 1 - one), a.subarray(2 * N), s);
}

function minGru(p, s, a) {
  const N = s.h.length;
  return mixed(vector(N, (k) => sigmoid(a[k])), a.subarray(N), s);
}

function attention(p, s, a) {
  const N = s.h.length, H = MODEL.heads, d = N / H, [x, q, k, v] = [0, 1, 2, 3].map((part) => a.subarray(part * N, (part + 1) * N));
  const keys = [...s.keys, k].slice(-MODEL.context), values = [...s.values, v].slice(-MODEL.context), mean = new Float64Array(N);
  for (let h = 0; h < H; h++) {
    const weights = softmax(keys.map((key, at) => fit(q, key, h * d, d, keys.length - 1 - at) / Math.sqrt(d)));
    values.forEach((value, at) => {
      for (let i = h * d; i < (h + 1) * d; i++) mean[i] += weights[at] * value[i];
    });
  }
  return { h: plus(x, product(mean, p.U, p.b_u)), keys, values };
}

/** The product of a query with a key that is some symbols back, by d units of a head: pairs are turned (rotary positions). */
function fit(q, key, first, d, back) {
  const pairs = d >> 1, { cos, sin } = turn(back, pairs);
  let sum = d % 2 ? q[first + d - 1] * key[first + d - 1] : 0;
  for (let i = 0, at = first; i < pairs; i++, at++) {
    const a = key[at], b = key[at + pairs];
    sum += q[at] * (a * cos[i] + b * sin[i]) + q[at + pairs] * (b * cos[i] - a * sin[i]);
  }
  return sum;
}

const turns = []; // by the number of symbols

function turn(back, pairs) {
  const angle = (i) => back * 10000 ** (-i / pairs);
  return (turns[back] ??= { cos: vector(pairs, (i) => Math.cos(angle(i))), sin: vector(pairs, (i) => Math.sin(angle(i))) });
}

function transformer(p, s, a) {
  const after = attention(p, s, a), inner = product(normalised(after.h, p.gain_2, p.shift_2), p.W_1, p.b_1);
  return { ...after, h: plus(after.h, product(inner.map(gelu), p.W_2, p.b_2)) };
}

const gelu = (a) => a * sigmoid(Math.sqrt(8 / Math.PI) * (a + 0.044715 * a ** 3));

const CELLS = {
  "lstm": lstm,
  "lstm-peephole": lstmPeephole,
  "lstm-coupled": lstmOfThree((i) => 1 - i),
  "lstm-no-forget": lstmOfThree(() => 1),
  "lstm-capped": lstmCapped,
  "lstm-mogrifier": lstmMogrifier,
  "gru": gru,
  "gru-reset-before": gruResetBefore,
  "gru-simple": gruSimple,
  "min-lstm": minLstm,
  "min-gru": minGru,
  "elman": elman(Math.tanh),
  "elman-relu": elman((u) => Math.max(u, 0)),
  "elman-linear": elman((u) => u),
  "jordan": jordan,
  "tdnn": tdnn,
  "narx": tdnn,
  "attention": attention,
  "transformer": transformer,
};
