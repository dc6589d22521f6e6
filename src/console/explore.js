// A view of a query: what it is built from on the left, what it answers on the right. The address holds all of it.

import { curl, enc, query, request } from "./api.js";
import { copy, dialog, download, fill, h, toast } from "./dom.js";
import * as format from "./format.js";
import { clean } from "./build.js";
import { openMembers, problemBox } from "./members.js";
import { rangeBar, resolve, rolling } from "./range.js";
import { schema } from "./schema.js";

let running;

// What the address says, with the view's own beginnings for what it leaves out.
function stateOf(view, params) {
  let q;
  let broken;
  try {
    q = params.has("q") ? JSON.parse(params.get("q")) : view.start();
    if (typeof q !== "object" || q === null || Array.isArray(q)) throw new Error("it is not an object");
  } catch (error) {
    broken = `The address holds no query: ${error.message}`;
    q = view.start();
  }
  const tabs = view.tabs ?? [];
  const tab = tabs.some(([id]) => id === params.get("tab")) ? params.get("tab") : tabs[0]?.[0];
  let ui = {};
  try {
    ui = JSON.parse(params.get("ui") ?? "{}");
  } catch { /* It only says how wide ribbons are. */ }
  return { q, tab, ui, broken, range: params.get("range") ?? view.range ?? "30d" };
}

export async function showView(main, view, { params, go, alive }) {
  const state = stateOf(view, params);
  const { q, tab, range, ui } = state;
  const set = (next) => {
    const merged = { ...state, ...next };
    go(view.id, { range: merged.range === (view.range ?? "30d") ? undefined : merged.range, tab: merged.tab === view.tabs?.[0]?.[0] ? undefined : merged.tab, ui: Object.keys(merged.ui).length ? JSON.stringify(merged.ui) : undefined, q: JSON.stringify(merged.q) });
  };
  const change = (next) => set({ q: clean(next) });
  const intervals = typeof view.intervals === "function" ? view.intervals(tab) : view.intervals;
  const times = resolve(range, intervals ? q.interval ?? "day" : "day");
  // What the query says itself comes before what the range says.
  const body = clean(view.body({ ...times, ...q }, tab));

  const focused = focusPath(main);
  const build = h("aside.build", { "aria-label": "Query" }, schema.events.length ? view.build(q, change, { tab, ui, setUi: (next) => set({ ui: next }) }) : null);
  const tabs = view.tabs ? h("div.tabs", { role: "tablist" }, view.tabs.map(([id, label]) => h("button", { type: "button", role: "tab", "aria-selected": String(id === tab), onclick: () => set({ tab: id }) }, label))) : null;
  const result = h("div.result", { "aria-live": "polite" }, h("div.loading", { role: "status" }, "Asking…"));
  const status = h("footer.status", {});
  const actions = h("div.actions", {},
    h("button", { type: "button", onclick: () => save(view, { ...rolling(range, times), ...q }, tab) }, "Save"),
    h("button", { type: "button", onclick: () => copy(location.href, "Address") }, "Share"),
    h("button", { type: "button", "data-key": "j", "aria-label": "The query as JSON and curl", onclick: () => showQuery(view, q, body, change) }, "Query"));
  fill(main,
    h("header.head", {}, h("div", {}, h("h1", {}, view.title), h("p", {}, view.question)), actions),
    state.broken ? h("div.problem", { role: "alert" }, state.broken) : null,
    h("div.explore", {}, h("details.build-box", { open: innerWidth > 900 }, h("summary", {}, "Query"), build),
      h("section.card.answer", { "aria-label": "Result" },
        view.hasNoRange ? null : rangeBar({ range, interval: q.interval ?? "day", zone: q.timezone, intervals, setRange: (next) => set({ range: next }), setInterval: (interval) => change({ ...q, interval }), setZone: (zone) => change({ ...q, timezone: zone === "UTC" ? undefined : zone }) }),
        tabs, result, status)));
  refocus(main, focused);
  if (!schema.events.length) return fill(result, firstEvent());

  running?.abort();
  running = new AbortController();
  // An answer that is there at once replaces the old one without a flicker.
  const waiting = setTimeout(() => result.classList.add("slow"), 250);
  try {
    const answer = await query(view.kind, body, running.signal);
    if (!alive()) return;
    draw(view, result, answer, { q, tab, ui, body, times });
    fill(status, statusLine(view, answer, body));
  } catch (error) {
    if (error.name === "AbortError" || !alive()) return;
    fill(result, problemBox(error), h("div.bar", {}, h("button", { type: "button", onclick: () => go(view.id) }, "Start anew"), h("button", { type: "button", onclick: () => showQuery(view, q, body, change) }, "Look at the query"),
      /growth.model/i.test(`${error.message} ${error.hint ?? ""}`) ? h("a.button", { href: "#/model" }, "Say what events mean") : null));
  } finally {
    clearTimeout(waiting);
  }
}

function draw(view, element, answer, { q, tab, ui, body, times }) {
  fill(element);
  element.classList.remove("slow");
  if (!answer.data.length) return fill(element, h("div.empty", {}, h("p", {}, "Nobody did that in this time."), h("p.faint", {}, "Take a longer range, or fewer conditions.")));
  const entity = q.entity ?? (q.count === "accounts" ? "account" : "user");
  // Cells are named by rows of the very query that was asked.
  const pick = (cell, title, expected) => openMembers({ title: `${view.title}: ${title}`, entity, expected, times: { timezone: q.timezone }, cohort: { result: { kind: view.kind, query: body, ...cell } } });
  // How many of the last buckets are still running.
  const openBuckets = (labels) => (times.as_of || !labels.length || range(body) ? 0 : 1);
  view.draw(element, answer, { q, tab, ui, pick, openBuckets });
}

const range = (body) => body.to !== undefined;

function statusLine(view, { statistics, rows, roundtrip }, body) {
  return [
    h("span", { title: `${statistics.elapsed_ms.toFixed(2)} ms in the store, ${roundtrip.toFixed(0)} ms all the way` }, `${statistics.elapsed_ms < 10 ? statistics.elapsed_ms.toFixed(1) : Math.round(statistics.elapsed_ms)} ms`),
    h("span", {}, `${format.number(statistics.events_scanned)} events scanned`), h("span", {}, `${format.number(statistics.segments)} segments`), h("span", {}, `${format.number(rows)} rows, exact`),
    statistics.ignored ? h("span.warn", {}, `${format.number(statistics.ignored)} events ignored`) : null,
    body.as_of ? h("span", { title: "The newest event is older than two days: the range ends with it, and so does what counts as over." }, `as of ${format.bucket(body.as_of)} ${String(body.as_of).slice(0, 4)}`) : null,
    h("div.downloads", {}, [["CSV", "text/csv", "csv"], ["JSON", "application/json", "json"]].map(([label, type, ending]) => h("button.quiet", { type: "button", onclick: () => request("POST", `v1/query/${view.kind}`, { body, accept: type }).then((told) => download(`${view.id}.${ending}`, type, typeof told === "string" ? told : JSON.stringify(told, null, 2)), (error) => toast(error.message)) }, label))),
  ];
}

// The query as JSON, to be changed, and as a command.
function showQuery(view, q, body, change) {
  dialog("Query", "drawer", (close) => {
    const text = h("textarea", { spellcheck: "false", "aria-label": "Query as JSON", rows: "18" }, JSON.stringify(q, null, 2));
    const wrong = h("div", {});
    const command = curl(view.kind, body);
    const run = () => {
      try {
        const next = JSON.parse(text.value);
        if (typeof next !== "object" || next === null || Array.isArray(next)) throw new Error("a query is an object");
        const { kind, ...rest } = next;
        close();
        change(rest);
      } catch (error) {
        fill(wrong, h("div.problem", { role: "alert" }, `This is not a query: ${error.message}`));
      }
    };
    return [
      h("header", {}, h("h2", {}, "Query"), h("button.icon", { type: "button", "aria-label": "Close", onclick: close }, "×")),
      h("p.faint", {}, "What the fields of this view say. The range comes from above the chart, unless it is said here."),
      text, wrong, h("div.drawer-actions", {}, h("button.primary", { type: "button", onclick: run }, "Run"), h("button", { type: "button", onclick: () => copy(JSON.stringify(body, null, 2), "Query") }, "Copy JSON")),
      h("h3", {}, "From a shell"), h("pre.wrap", {}, command), h("div.drawer-actions", {}, h("button", { type: "button", onclick: () => copy(command, "Command") }, "Copy curl")),
      h("h3", {}, "As one address"), h("pre.wrap", {}, new URL(`v1/query/${view.kind}?format=csv&q=${enc(JSON.stringify(body))}`, new URL(".", location.href)).href),
    ];
  });
}

function save(view, body, tab) {
  dialog("Save", "box", (close) => {
    const input = h("input", { type: "text", "aria-label": "Name", placeholder: "weekly_signups", maxlength: "100" });
    const wrong = h("div", {});
    const form = h("form", {}, h("label.field", {}, h("span", {}, "Name"), input), wrong, h("button.primary", { type: "submit" }, "Save"));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!input.value.trim()) return input.focus();
      try {
        await request("PUT", `v1/queries/${enc(input.value.trim())}`, { body: { kind: view.kind, ...clean(view.body(body, tab)) } });
        close();
        toast("Saved: it has an address under “Saved queries”");
      } catch (error) {
        fill(wrong, problemBox(error));
      }
    });
    return [h("header", {}, h("h2", {}, "Save this query"), h("button.icon", { type: "button", "aria-label": "Close", onclick: close }, "×")), h("p.faint", {}, "It is run anew at each use, over the same stretch of time up to then."), form];
  });
}

export function firstEvent() {
  const root = new URL(".", location.href);
  return h("div.empty", {}, h("h2", {}, "No events yet"),
    h("p", {}, "Send the first one:"), h("pre", {}, `curl ${new URL("v1/events", root)} -d '{"event": "signup", "user": "ada"}'`),
    h("p", {}, "or take a file of yours:"), h("pre", {}, `flywheel import events.csv --url ${root.origin} --map user=customer_id,time=date`),
    h("p.faint", {}, "“flywheel demo” makes a year of a product that does not exist, to look around in."));
}

// A change draws the fields anew; the one that had the focus gets it back, by its place.
function focusPath(main) {
  const active = document.activeElement;
  const build = main.querySelector(".build");
  if (!active || !main.contains(active)) return null;
  const label = active.getAttribute("aria-label");
  const all = label ? [...main.querySelectorAll(`[aria-label="${CSS.escape(label)}"]`)] : [];
  return label ? { label, index: all.indexOf(active), scroll: build?.scrollTop } : null;
}

function refocus(main, focused) {
  if (!focused) return;
  const all = main.querySelectorAll(`[aria-label="${CSS.escape(focused.label)}"]`);
  const target = all[focused.index] ?? all[0];
  // Within a group of words, the one that is chosen takes it.
  (target?.getAttribute("role") === "radiogroup" ? target.querySelector("[tabindex='0']") : target)?.focus({ preventScroll: true });
}
