// Vectors.

function vector(n, f) {
  const out = new Float64Array(n);
  for (let k = 0; k < n; k++) out[k] = f(k);
  return out;
}

/** x W, and with b that plus b, which may be shorter. */
function product(x, matrix, b) {
  const out = dots(x, matrix.columns, matrix.width);
  if (b) for (let k = 0; k < b.length; k++) out[k] += b[k];
  return out;
}

/** The products of x [n] with the first rows of a table. */
function dots(x, table, rows) {
  const n = x.length, out = new Float64Array(rows);
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    let a = 0, b = 0, c = 0, d = 0;
    for (let i = 0, A = r * n, B = A + n, C = B + n, D = C + n; i < n; i++) {
      const v = x[i];
      a += v * table[A + i];
      b += v * table[B + i];
      c += v * table[C + i];
      d += v * table[D + i];
    }
    out[r] = a, out[r + 1] = b, out[r + 2] = c, out[r + 3] = d;
  }
  for (; r < rows; r++) for (let i = 0; i < n; i++) out[r] += x[i] * table[r * n + i];
  return out;
}

function plus(a, b) {
  return vector(a.length, (k) => a[k] + b[k]);
}

function joined(...parts) {
  const out = new Float64Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) out.set(part, at), (at += part.length);
  return out;
}

const sigmoid = (a) => 1 / (1 + Math.exp(-a));
const softplus = (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
const largest = (a) => a.reduce((best, value, k) => (value > a[best] ? k : best), 0);

function softmax(logits) {
  const most = logits[largest(logits)], p = vector(logits.length, (k) => Math.exp(logits[k] - most));
  const total = p.reduce((a, b) => a + b, 0);
  return p.map((one) => one / total);
}

/** Mean 0 and deviation 1, times gain, plus shift (layer norm). */
function normalised(x, gain, shift) {
  const n = x.length, mean = x.reduce((a, b) => a + b, 0) / n;
  const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / n + 1e-5);
  return vector(n, (k) => (x[k] - mean) * scale * gain[k] + shift[k]);
}
