// A text of symbols that can be chosen: a listbox, of which one symbol is chosen, or a part from one to another.

import { element } from "./dom.js";

export class Symbols {
  /** `many` lets a part be chosen; `choose` is called with its first symbol and the one behind its last. */
  constructor(host, label, many, choose) {
    this.host = host;
    this.many = many;
    this.choose = choose;
    this.options = [];
    this.from = this.to = null;
    host.setAttribute("role", "listbox");
    host.setAttribute("aria-label", label);
    if (many) host.setAttribute("aria-multiselectable", "true");
    host.classList.toggle("many", many);
    host.addEventListener("keydown", (event) => this.#key(event));
    host.addEventListener("pointerdown", (event) => this.#point(event));
    if (many) {
      host.addEventListener("pointermove", (event) => event.buttons === 1 && this.#drag(event));
      addEventListener("pointerup", () => this.#drop());
    }
  }

  /** Show pieces of text; nothing is chosen. */
  set(pieces) {
    this.from = this.to = null;
    this.options = pieces.map((piece, k) => {
      const option = element("span", { role: "option", tabIndex: k ? -1 : 0, "aria-selected": "false" });
      option.dataset.k = k;
      for (const part of piece.split(/(\n)/)) {
        if (part === "\n") option.append(element("span", { class: "mark" }, "⏎"), "\n");
        else option.append(part);
      }
      if (piece === "") option.append(element("span", { class: "mark" }, "⏎"));
      return option;
    });
    this.host.replaceChildren(...this.options);
  }

  /** Give each symbol its classes and the name that is read out. */
  paint(look) {
    this.options.forEach((option, k) => {
      const { classes, name } = look(k);
      option.className = classes;
      option.setAttribute("aria-label", name);
    });
  }

  /** Choose the symbols between two places, both included. */
  select(from, to = from, tell = true) {
    [this.from, this.to] = [from, to];
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    this.options.forEach((option, k) => {
      option.setAttribute("aria-selected", String(low <= k && k <= high));
      option.tabIndex = k === to ? 0 : -1;
    });
    if (tell) this.choose(low, high + 1);
  }

  #key(event) {
    if (!this.options.length) return;
    const at = this.to ?? 0;
    const line = () => this.#beside(at, event.key === "ArrowUp" ? -1 : 1);
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.options.length - 1 };
    if (event.key === "Enter" || event.key === " ") this.select(at);
    else if (event.key === "ArrowUp" || event.key === "ArrowDown" || event.key in moves) {
      const wanted = event.key in moves ? (this.to === null ? at : moves[event.key]) : line();
      const to = Math.max(0, Math.min(this.options.length - 1, wanted));
      this.select(this.many && event.shiftKey && this.from !== null ? this.from : to, to);
      this.options[to].focus();
    } else return;
    event.preventDefault();
  }

  /** The symbol above or below another. */
  #beside(at, way) {
    const { left, top, height } = this.options[at].getBoundingClientRect();
    const rows = this.options.map((option) => option.getBoundingClientRect());
    let best = at, least = Infinity;
    rows.forEach((row, k) => {
      const down = way * (row.top - top);
      if (down < height / 2) return;
      const distance = 1000 * Math.round(down / height) + Math.abs(row.left - left);
      if (distance < least) [best, least] = [k, distance];
    });
    return best;
  }

  #under(event) {
    const option = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-k]");
    return option && this.host.contains(option) ? Number(option.dataset.k) : null;
  }

  #point(event) {
    const k = this.#under(event);
    if (k === null || event.button) return;
    event.preventDefault();
    this.dragging = true;
    this.select(this.many && event.shiftKey && this.from !== null ? this.from : k, k, !this.many);
    this.options[k].focus();
  }

  #drag(event) {
    const k = this.#under(event);
    if (this.dragging && k !== null && k !== this.to) this.select(this.from, k, false);
  }

  #drop() {
    if (!this.dragging) return;
    this.dragging = false;
    this.select(this.from, this.to);
  }
}
