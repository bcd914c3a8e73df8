// The page: which model, which view. Each view is a module that knows one section of the page.

import { ask } from "./api.js";
import { element } from "./dom.js";
import { blanks } from "./blanks.js";
import { labels } from "./labels.js";
import { memory } from "./memory.js";
import { pairs } from "./pairs.js";
import { surprise } from "./surprise.js";
import { temperature } from "./temperature.js";
import { units } from "./units.js";
import { write } from "./write.js";

const VIEWS = { write, surprise, temperature, memory, units, blanks, labels, pairs };

/** What the views share: the model, the text that is looked at, and the way to another view. */
const page = {
  model: null,
  text: "",
  bounds: null,
  /** A question about the model, with the label that it writes by. */
  question: (fields) => ({ model: page.model.name, ...(page.model.labels ? { label: label.value } : {}), ...fields }),
  /** Open a view with a text. */
  open(view, text) {
    page.text = text;
    if (location.hash === `#${view}`) show();
    else location.hash = view;
  },
};
const [chooser, label, list, failure] = ["model", "label", "views", "failure"].map((id) => document.getElementById(id));
const opened = Object.fromEntries(
  Object.entries(VIEWS).map(([name, view]) => [name, view(document.getElementById(name), page)]),
);

function show() {
  const wanted = location.hash.slice(1);
  const current = page.model.views.includes(wanted) ? wanted : page.model.views[0];
  for (const name of Object.keys(VIEWS)) document.getElementById(name).hidden = name !== current;
  for (const link of list.querySelectorAll("a")) {
    if (link.hash === `#${current}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = current ? `${list.querySelector("[aria-current]").textContent} · ${page.model.name} · lmgen` : "lmgen";
  failure.hidden = page.model.views.length > 0;
  failure.textContent = "The page has no view for such a model: ask the server's /predict.";
  opened[current]?.show();
}

function choose(model) {
  page.model = model;
  page.text = model.example;
  document.getElementById("about").textContent = model.about;
  document.getElementById("by-label").hidden = !model.labels;
  label.replaceChildren(...(model.labels ?? []).map((name) => element("option", { value: name }, name)));
  for (const needed of document.querySelectorAll("[data-needs]")) needed.hidden = !model.views.includes(needed.dataset.needs);
  list.replaceChildren(
    ...model.views.map((name) => element("li", {}, element("a", { href: `#${name}` }, document.getElementById(`${name}-title`).textContent))),
  );
  for (const name of model.views) opened[name].reset();
  show();
}

async function start() {
  const { models, bounds } = await ask("/page/models");
  page.bounds = bounds;
  for (const field of document.querySelectorAll("textarea, input.text")) field.maxLength = bounds.text;
  chooser.replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
  chooser.addEventListener("change", () => choose(models[chooser.selectedIndex]));
  label.addEventListener("change", show);
  addEventListener("hashchange", show);
  choose(models[0]);
}

start().catch((error) => {
  failure.textContent = error.message;
  failure.hidden = false;
});
