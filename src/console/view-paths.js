// What users do next: the query `paths`.

import { choice, clean, entityPart, field, numberInput, section, selectorEvents, selectorPart, textInput, toggle, wherePart, addButton } from "./build.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { sankey } from "./sankey.js";
import { likely } from "./schema.js";
import { resultTable } from "./table.js";

export default {
  id: "paths", kind: "paths", title: "Paths", question: "What do users do next, or before?",
  tabs: [["flow", "Flow"], ["whole", "Whole paths"]], range: "30d",
  start: () => ({ start: likely(["signup", "sign_up", "user_signed_up"]), steps: 4, limit: 8 }),
  body: (q, tab) => (tab === "whole" ? { ...q, whole: true, limit: 25 } : q),
  events: (q) => selectorEvents(q.start ?? q.end ?? "*"),
  build(q, change, { ui, setUi }) {
    const events = this.events(q);
    const anchor = q.start ? "start" : q.end ? "end" : "none";
    const { start, end, ...rest } = q;
    const setAnchor = (word) => change(clean({ ...rest, start: word === "start" ? start ?? end ?? likely(["signup"]) : undefined, end: word === "end" ? start ?? end ?? likely(["signup"]) : undefined }));
    const list = (name, label) => section(label, (q[name] ?? []).map((event, index) => selectorPart({ label, value: event, change: (next) => change({ ...q, [name]: q[name].map((old, at) => (at === index ? next : old)) }), onremove: () => change(clean({ ...q, [name]: q[name].length > 1 ? q[name].filter((_, at) => at !== index) : undefined })) })),
      addButton("Event", () => change({ ...q, [name]: [...(q[name] ?? []), likely([], 1)] })));
    return [
      section("Paths", choice("Where paths begin or end", [["start", "from"], ["end", "up to"], ["none", "all"]], anchor, setAnchor),
        anchor === "none" ? null : selectorPart({ label: "Event", value: q[anchor], change: (next) => change({ ...q, [anchor]: next }) })),
      section("Rules",
        field("Moves", numberInput("Moves", q.steps ?? 5, (steps) => change({ ...q, steps }), { max: 20 })),
        field("Most frequent", numberInput("Moves of each step with rows of their own", q.limit ?? 10, (limit) => change({ ...q, limit }), { max: 100 })),
        field("Session gap", textInput("Session gap", q.session_gap ?? "30m", (session_gap) => change(clean({ ...q, session_gap: session_gap === "30m" || !session_gap ? undefined : session_gap, window: undefined })), { size: "6" })),
        field("Width", choice("Width of the ribbons", [["users", "users"], ["events", "times"]], ui.weight ?? "users", (weight) => setUi({ ...ui, weight }))),
        toggle("Repeats in a row", q.repeats, (repeats) => change(clean({ ...q, repeats })))),
      list("events", "Only these events"), list("exclude", "Leave out"),
      wherePart({ query: q, change, events }), section("Options", entityPart(q, (next) => change(clean(next)))),
    ];
  },
  draw(element, result, { q, tab, pick, ui }) {
    if (tab === "whole") {
      const most = Math.max(...result.data.map((row) => row.users), 1);
      const open = (row) => pick({ path: row.path }, row.path.join(" → "), row.users);
      element.append(h("ol.whole-paths", {}, result.data.map((row) => h("li", {},
        h("div.path-names", {}, row.path.map((name, index) => [index ? h("span.faint", { "aria-hidden": "true" }, " → ") : null, h("span", {}, format.value(name))])),
        h("div.path-bar", {}, h("i", { style: { width: `${(row.users / most) * 100}%` } }), h("button.number", { type: "button", onclick: () => open(row) }, format.count(row.users, "users")), h("span.faint", {}, `${format.number(row.events)} times`))))));
      return;
    }
    const open = (row) => pick({ step: row.step, source: row.source, target: row.target }, `${format.value(row.source)} → ${format.value(row.target)}, move ${row.step}`, row.users);
    const chart = h("div.sankey-box", {});
    element.append(chart, h("details", {}, h("summary", {}, "As a table"), resultTable(result, { cell: (row, column) => (column === "users" ? row : null), onpick: open })));
    sankey(chart, { rows: result.data, backwards: Boolean(q.end), weight: ui.weight ?? "users", onpick: open });
  },
};
