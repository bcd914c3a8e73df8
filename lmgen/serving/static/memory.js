// Memory: the map of all that a layer holds, a column for each symbol and a row for each unit.

import { element, later, latest, shown } from "./dom.js";
import { figure, states, titled } from "./states.js";

const MOST = 1000; // columns
const MEANINGS = {
  h: "h, the output: what the layer above reads, and the layer itself at the next symbol.",
  c: "c, the memory cell: what is kept from symbol to symbol.",
  i: "i, the input gate, from 0 to 1: how much is written into the memory.",
  f: "f, the forget gate, from 0 to 1: how much of the memory is kept.",
  o: "o, the output gate, from 0 to 1: how much of the memory shows.",
  g: "g, what the input gate lets into the memory.",
  z: "z, the update gate, from 0 to 1: how much of the state is written anew.",
  r: "r, the reset gate, from 0 to 1: how much of the state the candidate sees.",
  n: "n, the candidate: what the gate writes into the state.",
};

export function memory(section, page) {
  const [text, layer, sorted] = ["text", "layer", "sorted"].map((name) => section.querySelector(`[name=${name}]`));
  const [names, meaning, map, readout, numbers] = ["names", "meaning", "map", "readout", "numbers"].map((name) => section.querySelector(`[data-${name}]`));
  const summary = section.querySelector("#memory-summary");
  const canvas = section.querySelector("canvas");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let found = null;
  let order = []; // the unit of each row
  let at = null; // the chosen column and row
  let size = null; // of a cell, and of the band of symbols above, in pixels
  let of = "h";

  const run = latest(section.querySelector("[role=status]"), async (signal) => {
    map.hidden = !text.value;
    if (!text.value) return "";
    found = await states(page, text.value, layer.selectedIndex, of, signal);
    found.columns = Math.min(MOST, found.pieces.length);
    arrange();
    choose(at ? Math.min(at.column, found.columns - 1) : 0, at?.row ?? 0, false);
    return found.pieces.length > MOST ? `the first ${MOST} of ${found.pieces.length} symbols` : "";
  });

  function arrange() {
    order = Array.from({ length: found.units }, (_, unit) => unit);
    if (sorted.checked) {
      const peaks = order.map((unit) => {
        let best = 0;
        for (let t = 1; t < found.columns; t++) if (Math.abs(found.at(t, unit)) > Math.abs(found.at(best, unit))) best = t;
        return best;
      });
      order.sort((a, b) => peaks[a] - peaks[b]);
    }
    let [low, high] = [Infinity, -Infinity];
    for (const byte of found.bytes) [low, high] = [Math.min(low, byte), Math.max(high, byte)];
    const [least, most] = [low, high].map((byte) => figure((byte / 127) * found.scale));
    summary.textContent = `${found.units} units, ${found.columns} symbols, values from ${least} to ${most}.`;
    draw();
  }

  function draw() {
    if (!found) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name);
    const long = Math.max(...found.pieces.slice(0, found.columns).map((piece) => piece.trim().length)) > 1;
    const room = section.clientWidth;
    const width = Math.max(long ? 18 : 11, Math.min(28, Math.floor(room / found.columns)));
    const height = Math.max(1, Math.min(8, Math.floor(512 / found.units)));
    const band = long ? 84 : 24;
    size = { width, height, band };
    const [wide, tall] = [width * found.columns, band + height * found.units];
    const ratio = Math.min(devicePixelRatio, 2);
    [canvas.width, canvas.height] = [wide * ratio, tall * ratio];
    [canvas.style.width, canvas.style.height] = [`${wide}px`, `${tall}px`];
    canvas.setAttribute("aria-label", `Map of ${of} of ${page.model.layers[layer.selectedIndex].title}: ${summary.textContent}`);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, wide, tall);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(cells([colour("--cold"), colour("--paper"), colour("--heat")]), 0, band, wide, height * found.units);
    pen.font = `13px ${colour("--mono")}`;
    pen.fillStyle = colour("--ink");
    pen.textAlign = long ? "left" : "center";
    pen.textBaseline = "middle";
    for (let t = 0; t < found.columns; t++) {
      pen.save();
      pen.translate((t + 0.5) * width, long ? band - 6 : band / 2);
      if (long) pen.rotate(-Math.PI / 2);
      pen.fillText(shown(long ? found.pieces[t].trim() || found.pieces[t] : found.pieces[t]), 0, 0, long ? band - 8 : width);
      pen.restore();
    }
    if (!at) return;
    pen.strokeStyle = colour("--ink");
    pen.lineWidth = 1;
    pen.strokeRect(at.column * width + 0.5, 0.5, width - 1, tall - 1);
    pen.strokeRect(0.5, band + at.row * height - 0.5, wide - 1, height + 1);
  }

  /** The numbers as a picture of one pixel each. */
  function cells(colours) {
    const [cold, paper, heat] = colours.map((name) => {
      const probe = new OffscreenCanvas(1, 1).getContext("2d");
      probe.fillStyle = name.trim();
      probe.fillRect(0, 0, 1, 1);
      return probe.getImageData(0, 0, 1, 1).data;
    });
    const picture = new OffscreenCanvas(found.columns, found.units);
    const pen = picture.getContext("2d");
    const image = pen.createImageData(found.columns, found.units);
    order.forEach((unit, row) => {
      for (let t = 0; t < found.columns; t++) {
        const value = found.bytes[t * found.units + unit] / 127;
        const [far, share] = [value < 0 ? cold : heat, Math.abs(value) ** 0.7];
        for (let k = 0; k < 3; k++) image.data[4 * (row * found.columns + t) + k] = paper[k] + (far[k] - paper[k]) * share;
        image.data[4 * (row * found.columns + t) + 3] = 255;
      }
    });
    pen.putImageData(image, 0, 0);
    return picture;
  }

  function choose(column, row, follow = true) {
    at = { column: Math.max(0, Math.min(found.columns - 1, column)), row: Math.max(0, Math.min(found.units - 1, row)) };
    const unit = order[at.row];
    const titles = page.model.layers.map(({ title }) => title);
    readout.textContent = `${titled(layer.selectedIndex, unit, titles)} after “${shown(found.pieces[at.column])}”: ${of} = ${figure(found.at(at.column, unit))}`;
    if (follow) {
      const left = at.column * size.width;
      if (left < map.scrollLeft) map.scrollLeft = left;
      if (left + size.width > map.scrollLeft + map.clientWidth) map.scrollLeft = left + size.width - map.clientWidth;
    }
    draw();
    const strongest = order.toSorted((a, b) => Math.abs(found.at(at.column, b)) - Math.abs(found.at(at.column, a))).slice(0, 16);
    numbers.replaceChildren(
      element("caption", { class: "faint" }, `The largest values of ${of} after “${shown(found.pieces[at.column])}”`),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Unit"), element("th", { scope: "col" }, of))),
      element("tbody", {}, strongest.map((unit) => element("tr", {}, element("th", { scope: "row" }, String(unit + 1)), element("td", { class: "number" }, figure(found.at(at.column, unit)))))),
    );
  }

  function open() {
    page.unit = { layer: layer.selectedIndex, unit: order[at.row] };
    page.open("units", text.value);
  }

  function under(event) {
    const box = canvas.getBoundingClientRect();
    return [Math.floor((event.clientX - box.left) / size.width), Math.floor((event.clientY - box.top - size.band) / size.height)];
  }

  function offer() {
    const wanted = page.model.layers[layer.selectedIndex].names;
    if (!wanted.includes(of)) of = "h";
    names.querySelectorAll("label").forEach((one) => one.remove());
    for (const name of wanted) {
      const radio = element("input", { type: "radio", name: "of", value: name, checked: name === of });
      radio.addEventListener("change", () => {
        of = name;
        meaning.textContent = MEANINGS[of];
        run();
      });
      names.append(element("label", {}, radio, name));
    }
    meaning.textContent = MEANINGS[of];
  }

  canvas.addEventListener("pointermove", (event) => found && event.pointerType === "mouse" && choose(...under(event), false));
  canvas.addEventListener("click", (event) => found && choose(...under(event), false));
  canvas.addEventListener("dblclick", () => found && open());
  map.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [0, -10], PageDown: [0, 10] };
    if (!found || !at) return;
    if (event.key in steps) choose(at.column + steps[event.key][0], at.row + steps[event.key][1]);
    else if (event.key === "Enter") open();
    else return;
    event.preventDefault();
  });
  layer.addEventListener("change", () => {
    offer();
    run();
  });
  sorted.addEventListener("change", () => {
    if (!found) return;
    arrange();
    choose(at.column, at.row);
  });
  const soon = later(300, run);
  text.addEventListener("input", () => {
    page.text = text.value;
    soon();
  });
  dark.addEventListener("change", draw);
  new ResizeObserver(() => draw()).observe(section);
  return {
    reset() {
      found = at = null;
      layer.replaceChildren(...page.model.layers.map(({ title }) => element("option", {}, title)));
      layer.parentElement.hidden = page.model.layers.length < 2;
      offer();
    },
    show() {
      text.value = page.text;
      run();
    },
  };
}
