"use strict";
// What the page is given, in blocks of data: the model without its weights, and the weights. Shapes: N cell size, D input size,
// V vocabulary, n symbols of a text. The parts of the engine are those of the Python program (lmgen/exporting/portable), with
// the same names. Sums are computed in 64 bits.

const EOS = 0, UNK = 1; // the id that begins and ends a text, and that of any unknown symbol
const MOST_CHOICES = 10; // symbols that are shown of those that could stand at a place

const TYPES = { f4: Float32Array, i2: Int16Array, i1: Int8Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };

/** A matrix by rows; `columns` has it by columns. */
class Matrix {
  constructor(data, height, width) {
    Object.assign(this, { data, height, width });
  }
  row(k) {
    return this.data.subarray(k * this.width, (k + 1) * this.width);
  }
  get columns() {
    const data = new Float32Array(this.data.length);
    for (let i = 0; i < this.height; i++) for (let j = 0; j < this.width; j++) data[j * this.height + i] = this.data[i * this.width + j];
    Object.defineProperty(this, "columns", { value: data });
    return data;
  }
}

const MODEL = JSON.parse(document.getElementById("model").textContent);
const W = unpacked(MODEL.arrays, document.getElementById("weights").textContent);

/** Arrays in objects by the parts of their names. A matrix is whole numbers, and before them a scale for each row. */
function unpacked(arrays, text) {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0)), found = {};
  let at = 0;
  const taken = (Type, count) => {
    const array = new Type(bytes.slice(at, at + count * Type.BYTES_PER_ELEMENT).buffer);
    at += count * Type.BYTES_PER_ELEMENT;
    return array;
  };
  for (const [path, kind, shape] of arrays) {
    const folders = path.split("/"), name = folders.pop(), count = shape.reduce((a, b) => a * b, 1);
    const place = folders.reduce((folder, next) => (folder[next] ??= {}), found);
    if (shape.length < 2) {
      place[name] = taken(TYPES[kind], count);
    } else {
      const scales = taken(Float32Array, shape[0]), whole = taken(TYPES[kind], count);
      place[name] = new Matrix(Float32Array.from(whole, (w, k) => w * scales[Math.floor(k / shape[1])]), ...shape);
    }
  }
  return found;
}
