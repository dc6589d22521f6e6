// Who is new, still there, back or gone, and on how many days users come: `lifecycle` and `stickiness`.

import { breakdownPart, clean, entityPart, field, numberInput, section, select, selectorEvents, selectorPart, wherePart } from "./build.js";
import { color, legend, lines, stacks } from "./charts.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { resultTable, splitNames } from "./table.js";
import { splitOf } from "./view-funnel.js";

export const STATES = [["retained", "var(--retained)"], ["new", "var(--new)"], ["resurrected", "var(--resurrected)"], ["churned", "var(--churned)"]];

const activeEvent = (q, change) => section("Active means", selectorPart({ label: "Event that makes active", value: q.event ?? "*", change: (event) => change({ ...q, event }) }));

// Rows by the values of their breakdowns.
function splits(data) {
  const groups = new Map();
  for (const row of data) {
    const name = format.rowName(row);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  return [...groups];
}

export const lifecycle = {
  id: "lifecycle", kind: "lifecycle", title: "Lifecycle", question: "Who is new, who stayed, who came back, who left?", intervals: true, range: "90d",
  start: () => ({ event: "*", interval: "week" }),
  body: (q) => q,
  events: (q) => selectorEvents(q.event ?? "*"),
  build(q, change) {
    const events = this.events(q);
    return [activeEvent(q, change), wherePart({ query: q, change, events }), breakdownPart({ query: q, change, events, lasting: true }), section("Options", entityPart(q, (next) => change(clean(next))))];
  },
  draw(element, result, { q, pick }) {
    const open = (row, state) => row[state] && pick({ time: row.time, state, ...splitOf(row) }, `${state}, ${format.bucket(row.time, q.interval)}`, row[state]);
    element.append(legend(STATES.map(([name, paint]) => ({ name, color: paint }))));
    for (const [name, rows] of splits(result.data)) {
      const chart = h("div.chart", {});
      element.append(name ? h("h3.split-name", {}, name) : "", chart);
      const layers = STATES.map(([state, paint]) => ({ name: state, color: paint, values: rows.map((row) => (state === "churned" ? -row[state] : row[state])) }));
      stacks(chart, { labels: rows.map((row) => format.bucket(row.time, q.interval)), layers, full: (value) => format.number(value === null || value === undefined ? value : Math.abs(value)), incomplete: rows.filter((row) => !row.complete).length, label: `Lifecycle ${name}`, onpick: (layer, at) => open(rows[at], STATES[layer][0]) });
    }
    element.append(resultTable(result, { interval: q.interval, names: splitNames(q), cell: (row, column) => (["new", "retained", "resurrected", "churned", "active"].includes(column) ? { row, column } : null), onpick: ({ row, column }) => open(row, column) }));
  },
};

export const stickiness = {
  id: "stickiness", kind: "stickiness", title: "Stickiness", question: "On how many days of a month do users come?",
  tabs: [["curve", "Power curve"], ["least", "At least"], ["ratio", "Ratio over time"]],
  intervals: ["day", "week"], range: "90d",
  start: () => ({ event: "*", interval: "day", period: "28d" }),
  body: (q, tab) => ({ ...q, ...(tab === "least" ? { cumulative: true } : {}), ...(tab === "ratio" ? { ratio: true } : {}) }),
  events: (q) => selectorEvents(q.event ?? "*"),
  build(q, change) {
    const events = this.events(q);
    const periods = q.interval === "week" ? [["12w", "12 weeks"], ["quarter", "calendar quarter"], ["year", "calendar year"]] : [["7d", "last 7 days"], ["28d", "last 28 days"], ["week", "calendar week"], ["month", "calendar month"]];
    const known = periods.some(([word]) => word === q.period) ? periods : [...periods, [q.period ?? "month", q.period ?? "month"]];
    return [
      activeEvent(q, change),
      section("Rules", field("Period", select("Period", known, q.period ?? "month", (period) => change({ ...q, period }))),
        field("Times", numberInput("Events that make an interval active", q.at_least ?? 1, (at_least) => change(clean({ ...q, at_least: at_least === 1 ? undefined : at_least })))),
        entityPart(q, (next) => change(clean(next)))),
      wherePart({ query: q, change, events }), breakdownPart({ query: q, change, events, lasting: true }),
    ];
  },
  draw(element, result, { q, tab, pick }) {
    const unit = q.interval ?? "day";
    if (tab === "ratio") {
      const open = (row, state) => pick({ time: row.time, state, ...splitOf(row) }, `${state.replaceAll("_", " ")}, ${format.bucket(row.time, unit)}`, row[state]);
      const groups = splits(result.data);
      const labels = [...new Set(result.data.map((row) => row.time))];
      const series = groups.map(([name, rows], index) => ({ name: name || `active in the ${unit} / in ${q.period ?? "month"}`, color: color(index), rows, values: labels.map((time) => rows.find((row) => row.time === time)?.ratio ?? null) }));
      const chart = h("div.chart", {});
      element.append(legend(series) ?? "", chart, resultTable(result, { interval: unit, names: splitNames(q), cell: (row, column) => (column.startsWith("active") ? { row, column } : null), onpick: ({ row, column }) => open(row, column) }));
      lines(chart, { labels: labels.map((time) => format.bucket(time, unit)), series, write: format.percentTick, full: format.percent, area: true, label: "Stickiness", onpick: (index, at) => open(series[index].rows[at], "active") });
      return;
    }
    const periods = [...new Set(result.data.map((row) => row.time))];
    const latest = periods[periods.length - 1];
    const open = (row) => row.users && pick({ time: row.time, intervals: row.intervals, ...splitOf(row) }, `active on ${tab === "least" ? "at least " : ""}${row.intervals} ${unit}${row.intervals === 1 ? "" : "s"}`, row.users);
    for (const [name, rows] of splits(result.data.filter((row) => row.time === latest))) {
      const chart = h("div.chart", {});
      element.append(name ? h("h3.split-name", {}, name) : "", h("p.faint", {}, `Users by ${unit}s on which they were active, in the period from ${format.bucket(latest)}`), chart);
      stacks(chart, { labels: rows.map((row) => row.intervals), layers: [{ name: "users", color: "var(--c1)", values: rows.map((row) => row.users) }], label: `Power curve ${name}`, onpick: (_, at) => open(rows[at]) });
    }
    element.append(resultTable(result, { interval: q.period?.endsWith("d") ? "day" : q.period, cell: (row, column) => (column === "users" ? row : null), onpick: open }));
  },
};
