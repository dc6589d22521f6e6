// The console: reads the address, shows the view it names, and asks for a key when the server wants one.

import { key } from "./api.js";
import { dialog, fill, h } from "./dom.js";
import { showView } from "./explore.js";
import { problemBox } from "./members.js";
import home from "./page-home.js";
import live from "./page-live.js";
import model from "./page-model.js";
import { accounts, users } from "./page-people.js";
import { cohorts, events, saved } from "./page-data.js";
import { loadSchema, schema } from "./schema.js";
import trends from "./view-trends.js";
import funnel from "./view-funnel.js";
import retention from "./view-retention.js";
import { lifecycle, stickiness } from "./view-habits.js";
import paths from "./view-paths.js";
import * as growth from "./view-growth.js";

const GROUPS = [
  ["", [home]],
  ["Explore", [trends, funnel, retention, lifecycle, stickiness, paths]],
  ["Growth", [growth.overview, growth.revenue, growth.activation, growth.conversion, growth.drivers, growth.pql, growth.limits, growth.virality, model]],
  ["Data", [live, events, users, accounts, cohorts, saved]],
];
const VIEWS = new Map(GROUPS.flatMap(([, views]) => views).map((view) => [view.id, view]));
// Each view has a key: g, and then this.
const KEYS = { h: "home", t: "trends", f: "funnel", r: "retention", l: "lifecycle", s: "stickiness", p: "paths", o: "overview", v: "revenue", e: "events", u: "users", c: "cohorts", a: "live" };

const nav = document.getElementById("nav");
const main = document.getElementById("main");
let shown = 0;

function read() {
  const [, id = "home", query = ""] = /^#\/([^?]*)(?:\?(.*))?$/.exec(location.hash) || [];
  return { id: VIEWS.has(id) ? id : "home", params: new URLSearchParams(query) };
}

// Goes to a view. Each step has an entry in the browser's history, so that “back” undoes it.
function go(id, params = {}, { replace = false } = {}) {
  const text = Object.entries(params).filter(([, value]) => value !== undefined && value !== "").map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  const hash = `#/${id}${text ? `?${text}` : ""}`;
  if (hash === location.hash) return show();
  if (replace) {
    history.replaceState(null, "", hash);
    show();
  } else location.hash = hash;
}

async function show() {
  const { id, params } = read();
  const view = VIEWS.get(id);
  const turn = ++shown;
  const alive = () => turn === shown;
  document.title = `${view.title} · FlywheelDB`;
  for (const link of nav.querySelectorAll("a[data-id]")) link.dataset.id === id ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  nav.classList.remove("open");
  document.getElementById("layer").replaceChildren();
  try {
    if (!schema.loaded || !schema.events.length) await loadSchema();
    if (!alive()) return;
    if (view.kind) return await showView(main, view, { params, go, alive });
    fill(main, h("header.head", {}, h("div", {}, h("h1", {}, view.title), h("p", {}, view.question))));
    view.show(main, { params, go, alive, reload: show, openSaved });
  } catch (error) {
    if (alive() && error.name !== "AbortError") fill(main, problemBox(error), h("button", { type: "button", onclick: () => show() }, "Try again"));
  }
}

// Shows a stored query in the view of its kind.
function openSaved({ query }) {
  const { kind, from, to, as_of, ...q } = query;
  const view = [...VIEWS.values()].find((each) => each.kind === kind);
  if (!view) return go("saved");
  const range = /^-\d+(d|w|mo)$/.test(from ?? "") && !to ? from.slice(1) : from || to ? `${String(from ?? "").slice(0, 10)}..${String(to ?? "").slice(0, 10)}` : "all";
  go(view.id, { range, q: JSON.stringify(q) });
}

function drawNav() {
  const themes = { auto: "dark", dark: "light", light: "auto" };
  const theme = () => localStorage.getItem("flywheel.theme") || "auto";
  const paint = () => document.documentElement.setAttribute("data-theme", theme());
  const themeButton = h("button.quiet", { type: "button", "aria-label": "Colours" });
  const label = () => { themeButton.textContent = { auto: "◐ Auto", dark: "● Dark", light: "○ Light" }[theme()]; };
  themeButton.addEventListener("click", () => {
    localStorage.setItem("flywheel.theme", themes[theme()]);
    paint();
    label();
  });
  paint();
  label();
  fill(nav,
    h("div.brand", {}, h("a", { href: "#/home" }, h("img", { src: "console/icon.svg", alt: "", width: "22", height: "22" }), h("span", {}, "FlywheelDB")),
      h("button.menu", { type: "button", "aria-label": "Menu", onclick: () => nav.classList.toggle("open") }, "☰")),
    h("div.nav-list", {}, GROUPS.map(([label, views]) => [label ? h("h2", {}, label) : null, h("ul", {}, views.map((view) => h("li", {}, h("a", { href: `#/${view.id}`, "data-id": view.id }, view.title))))]),
      h("div.nav-foot", {}, themeButton, h("button.quiet", { type: "button", onclick: askKey }, "Key"), h("button.quiet", { type: "button", "aria-label": "Keyboard", onclick: showKeys }, "?"))));
}

function showKeys() {
  const row = (keys, what) => h("tr", {}, h("td", {}, keys.map((each) => h("kbd", {}, each))), h("td", {}, what));
  dialog("Keyboard", "box", (close) => [
    h("header", {}, h("h2", {}, "Keyboard"), h("button.icon", { type: "button", "aria-label": "Close", onclick: close }, "×")),
    h("table", {}, Object.entries(KEYS).map(([letter, id]) => row(["g", letter], VIEWS.get(id).title)), row(["j"], "The query as JSON and curl"), row(["←", "→"], "Walk along a chart that has the focus"), row(["Enter"], "The users behind a number"), row(["Esc"], "Close"), row(["?"], "This list")),
  ]);
}

function askKey(problem) {
  if (document.querySelector("dialog[aria-label=Key]")) return;
  dialog("Key", "box", (close) => {
    const input = h("input", { type: "password", "aria-label": "Key", value: key.get(), autocomplete: "off" });
    const form = h("form", {}, h("label.field", {}, h("span", {}, "Key"), input), h("div.bar", {}, h("button.primary", { type: "submit" }, "Use it"), key.get() ? h("button", { type: "button", onclick: () => { key.set(""); close(); } }, "Forget it") : null));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      key.set(input.value.trim());
      close();
      schema.loaded = false;
      show();
    });
    return [h("header", {}, h("h2", {}, "Key"), h("button.icon", { type: "button", "aria-label": "Close", onclick: close }, "×")),
      problem?.message ? h("p.faint", {}, problem.message) : null, h("p", {}, "A key with the scope read shows everything; admin is needed to save and delete. It stays in this tab until the tab is closed."), form];
  });
}

let prefix = false;
document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || document.querySelector("dialog[open]")) return;
  if (prefix && KEYS[event.key]) go(KEYS[event.key]);
  else if (event.key === "?") showKeys();
  else if (event.key === "j") document.querySelector("[data-key=j]")?.click();
  prefix = event.key === "g";
});
document.addEventListener("key-needed", (event) => askKey(event.detail));
addEventListener("hashchange", show);
drawNav();
show();
