// Elements without markup: whatever comes from a model or a user becomes a text node, never HTML.

/** An element with properties, attributes and children; a child that is no node becomes text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key === "class") made.className = value;
    else if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const UNKNOWN = "\ufffd"; // how the server spells a symbol that is not in the vocabulary

/** A symbol for people, where it stands alone: what cannot be seen has a sign or a name. */
export function shown(symbol) {
  if (symbol === "") return "end";
  if (symbol.trim() === UNKNOWN) return "unknown";
  return symbol.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
}

/** A probability with as many digits as say something. */
export function percent(p) {
  const value = 100 * p;
  if (value >= 99.95) return value === 100 ? "100 %" : "99.9 %";
  return value >= 10 ? `${value.toFixed(1)} %` : value >= 0.01 ? `${value.toFixed(2)} %` : "< 0.01 %";
}

/** A row of a list of bars: a symbol (a button where it can be chosen), its bar, its probability, and a tick at another one. */
export function bar(symbol, p, { choose = null, name = null, scale = 1, tick = null, classes = "" } = {}) {
  const fill = element("div", { class: "fill" });
  fill.style.width = `${100 * Math.min(1, p * scale)}%`;
  const track = element("div", { class: "track", "aria-hidden": "true" }, fill);
  if (tick !== null) {
    const mark = element("div", { class: "tick" });
    mark.style.left = `${100 * Math.min(1, tick * scale)}%`;
    track.append(mark);
  }
  const label = choose
    ? element("button", { type: "button", class: "symbol", onclick: choose, "aria-label": name }, symbol)
    : element("span", { class: "symbol" }, symbol);
  return element("li", { class: classes }, label, track, element("span", { class: "number" }, percent(p)));
}

/** A function that runs another once nobody has called it for a while. */
export function later(wait, run) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), wait);
  };
}

/** Why a call is cancelled that a newer one replaces. */
export const REPLACED = "replaced";

/** A function that asks the server, of which only the newest call counts: it cancels the one before, and says what went wrong. */
export function latest(status, work) {
  let control = null;
  const run = async (...given) => {
    control?.abort(REPLACED);
    const own = (control = new AbortController());
    status.classList.remove("wrong");
    const waiting = setTimeout(() => (status.textContent = "computing …"), 400);
    try {
      const say = await work(own.signal, ...given);
      if (own === control) status.textContent = say ?? "";
    } catch (error) {
      if (own.signal.aborted) {
        if (own === control) status.textContent = "stopped";
        return;
      }
      status.classList.add("wrong");
      status.textContent = error.message;
    } finally {
      clearTimeout(waiting);
    }
  };
  run.stop = () => control?.abort();
  return run;
}

/** Whether Enter was pressed in a field of several lines without Shift, which then sends its form. */
export function sends(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}
