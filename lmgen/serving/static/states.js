// What a layer held at each symbol, as the server sends it: one byte a number, and the scale of them all.

import { ask } from "./api.js";

/** The states of a layer by one name ("h", "c", a gate): `at(t, unit)` is a number. */
export async function states(page, text, layer, of, signal) {
  const found = await ask("/page/states", page.question({ text, layer, of }), signal);
  const bytes = Int8Array.from(atob(found.values), (one) => one.charCodeAt(0));
  return { ...found, bytes, at: (t, unit) => (bytes[t * found.units + unit] / 127) * found.scale };
}

/** A number for people, of the same width whatever its sign. */
export const figure = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

/** A unit for people, who count from 1. */
export const titled = (layer, unit, titles) => `${titles.length > 1 ? `${titles[layer]}, ` : ""}unit ${unit + 1}`;
