// How many get from one step to the next: the query `funnel`.

import { addButton, breakdownPart, clean, entityPart, field, numberInput, section, select, selectorEvents, selectorName, selectorPart, textInput, toggle, wherePart } from "./build.js";
import { color, legend, lines, stacks } from "./charts.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { eventProperties, likely, schema } from "./schema.js";
import { picker } from "./picker.js";
import { resultTable, splitNames } from "./table.js";

const SHOWN_GROUPS = 6;

function stepExtra(index, count) {
  return (parts, set) => (index === 0 ? null : h("div.condition.small", {},
    h("span.faint", {}, "within"), textInput("Within, since the step before", parts.within, (within) => set({ ...parts, within: within || undefined }), { placeholder: "any time", size: "6" }),
    index < count - 1 ? toggle("optional", parts.optional, (optional) => set({ ...parts, optional })) : null));
}

function move(list, from, to) {
  const next = [...list];
  next.splice(to, 0, ...next.splice(from, 1));
  return next;
}

export default {
  id: "funnel", kind: "funnel", title: "Funnel", question: "How many get from one step to the next, and how long does it take?",
  tabs: [["steps", "Steps"], ["time", "Time to convert"], ["trend", "Over time"]],
  intervals: (tab) => (tab === "trend" ? true : null),
  start() {
    const steps = [likely(["signup", "sign_up", "user_signed_up", "page_viewed"]), likely(["project_created", "activated", "report_viewed"], 1), likely(["plan_upgraded", "purchase", "order_completed"], 2)];
    return { steps: [...new Set(steps)].length > 1 ? [...new Set(steps)] : [steps[0], "*"], window: "30d" };
  },
  range: "90d",
  body(q, tab) {
    const { interval, ...rest } = q;
    if (tab === "time") {
      const { breakdown, ...plain } = rest;
      return { ...plain, histogram: { from_step: 1, to_step: q.steps.length, bins: 20 } };
    }
    return tab === "trend" ? { ...rest, interval: interval ?? "week" } : rest;
  },
  events: (q) => q.steps.flatMap(selectorEvents),
  build(q, change, { tab }) {
    const put = (steps) => change({ ...q, steps });
    const events = this.events(q);
    const properties = () => [{ label: "Properties", options: eventProperties(events).map((property) => ({ value: property.property, label: property.property })) }];
    return [
      section("Steps", q.steps.map((step, index) => h("div.step-row", {},
        selectorPart({
          label: `Step ${index + 1}`, number: index + 1, value: step, change: (next) => put(q.steps.map((old, at) => (at === index ? next : old))),
          onremove: q.steps.length > 2 ? () => put(q.steps.filter((_, at) => at !== index)) : null, extra: stepExtra(index, q.steps.length),
        }),
        index > 0 ? h("button.icon.swap", { type: "button", "aria-label": `Move step ${index + 1} up`, title: "Move up", onclick: () => put(move(q.steps, index, index - 1)) }, "↑") : null)),
        addButton("Step", () => put([...q.steps, schema.events.find((event) => !events.includes(event.event))?.event ?? "*"]))),
      section("Rules",
        field("Window", textInput("Conversion window", q.window ?? "14d", (window) => change({ ...q, window: window || undefined }), { size: "6" })),
        field("Order", select("Order", [["ordered", "In this order"], ["strict", "Nothing in between"], ["any", "In any order"]], q.order ?? "ordered", (order) => change(clean({ ...q, order: order === "ordered" ? undefined : order })))),
        field("Count", select("Count", [["users", "Users"], ["accounts", "Accounts"], ["sessions", "Sessions"], ["attempts", "Attempts"]], q.count ?? "users", (count) => change(clean({ ...q, count: count === "users" ? undefined : count })))),
        h("div.field", {}, h("span", {}, "Same"), h("div.condition", {},
          (q.hold ?? []).map((name) => h("button.chip", { type: "button", title: "Remove", onclick: () => change(clean({ ...q, hold: q.hold.length > 1 ? q.hold.filter((old) => old !== name) : undefined })) }, `${name} ×`)),
          picker({ label: "Property that all steps share", value: "", placeholder: "+ property", groups: properties, className: "add", onpick: (name) => change({ ...q, hold: [...(q.hold ?? []), name] }) })))),
      section("Without", (q.exclude ?? []).map((item, index) => selectorPart({
        label: "Excluded event", value: item.event, change: (event) => change({ ...q, exclude: q.exclude.map((old, at) => (at === index ? { ...old, event } : old)) }),
        onremove: () => change(clean({ ...q, exclude: q.exclude.length > 1 ? q.exclude.filter((_, at) => at !== index) : undefined })),
        extra: () => h("div.condition.small", {}, h("span.faint", {}, "between steps"),
          numberInput("After step", item.after_step ?? 1, (after_step) => change({ ...q, exclude: q.exclude.map((old, at) => (at === index ? clean({ ...old, after_step }) : old)) }), { max: q.steps.length }),
          h("span.faint", {}, "and"),
          numberInput("Before step", item.before_step ?? q.steps.length, (before_step) => change({ ...q, exclude: q.exclude.map((old, at) => (at === index ? clean({ ...old, before_step }) : old)) }), { max: q.steps.length })),
      })), addButton("Excluded event", () => change({ ...q, exclude: [...(q.exclude ?? []), { event: likely([], 3) }] }))),
      wherePart({ query: q, change, events }),
      tab === "time" ? null : breakdownPart({ query: q, change, events }),
      q.count ? null : section("Options", entityPart(q, (next) => change(clean(next)))),
    ];
  },
  draw(element, result, context) {
    if (context.tab === "time") drawTimes(element, result);
    else if (context.tab === "trend") drawTrend(element, result, context);
    else drawSteps(element, result, context);
  },
};

function drawSteps(element, result, { q, pick }) {
  const groups = groupRows(result.data);
  const shown = groups.slice(0, SHOWN_GROUPS);
  const noun = q.count && q.count !== "accounts" ? q.count : q.entity === "account" || q.count === "accounts" ? "accounts" : "users";
  const pickable = noun === "users" || noun === "accounts";
  const open = (row, outcome) => pick({ step: row.step, outcome, ...splitOf(row) }, `${row.event}: ${outcome === "dropped" ? "dropped off before" : outcome === "in_progress" ? "may still go on" : "reached"}${format.rowName(row) ? `, ${format.rowName(row)}` : ""}`);
  const steps = shown[0].rows.map((_, index) => {
    const rows = shown.map((group) => group.rows[index]);
    const bars = rows.map((row, at) => {
      const share = row.from_first ?? (index === 0 && row.users ? 1 : 0);
      const before = index === 0 ? share : shown[at].rows[index - 1].from_first ?? 0;
      const bar = h("div.funnel-bar", { style: { "--share": `${Math.max(0, share) * 100}%`, "--lost": `${Math.max(0, before - share) * 100}%`, "--color": color(at) } });
      const name = shown.length > 1 ? `${shown[at].name}, ` : "";
      if (index > 0) bar.append(h("button.funnel-lost", { type: "button", disabled: !pickable, title: `${name}dropped off`, "aria-label": `${name}dropped off before ${row.event}`, onclick: () => open(row, "dropped") }));
      bar.append(h("button.funnel-kept", { type: "button", disabled: !pickable, title: `${name}${format.number(row.users)} ${noun}`, "aria-label": `${name}${row.event}: ${format.number(row.users)} ${noun}`, onclick: () => open(row, "converted") }));
      return bar;
    });
    const total = rows.length === 1 ? rows[0] : null;
    const previous = total && index > 0 ? shown[0].rows[index - 1] : null;
    const lost = previous ? previous.users - total.users - (previous.in_progress ?? 0) : null;
    return h("li.funnel-step", {},
      h("div.funnel-head", {}, h("span.step-number", {}, index + 1), h("span", { title: rows[0].event }, rows[0].event)),
      h("div.funnel-bars", {}, bars),
      total
        ? h("div.funnel-foot", {},
          h("strong", {}, format.percent(index === 0 ? 1 : total.from_first)),
          pickable ? h("button.number", { type: "button", onclick: () => open(total, "converted") }, format.count(total.users, noun)) : h("span", {}, format.count(total.users, noun)),
          index > 0 ? h("span.faint", {}, `${format.percent(total.from_previous)} of the step before`) : null,
          lost > 0 && pickable ? h("button.number.lost", { type: "button", onclick: () => open(total, "dropped") }, `− ${format.number(lost)} dropped off`) : null,
          previous?.in_progress && pickable ? h("button.number.open", { type: "button", onclick: () => open(previous, "in_progress") }, `${format.number(previous.in_progress)} may still come`) : null,
          total.median_seconds === null ? null : h("span.funnel-time", { title: `average ${format.duration(total.average_seconds)}, 90 % within ${format.duration(total.p90_seconds)}` }, `median ${format.duration(total.median_seconds)}`))
        : h("div.funnel-foot", {}, rows.map((row, at) => h("span", {}, h("i.swatch", { style: { background: color(at) } }), format.percent(index === 0 ? (row.users ? 1 : null) : row.from_first)))));
  });
  element.append(
    legend(shown.map((group, index) => ({ color: color(index), name: group.name }))) ?? "",
    h("ol.funnel", {}, steps),
    groups.length > shown.length ? h("p.faint", {}, `The first ${SHOWN_GROUPS} of ${groups.length} rows are drawn; the table has all.`) : "",
    resultTable(result, { names: splitNames(q), cell: (row, column) => (pickable && ["users", "in_progress"].includes(column) ? { row, column } : null), onpick: ({ row, column }) => open(row, column === "users" ? "converted" : "in_progress") }));
}

function groupRows(data) {
  const groups = new Map();
  for (const row of data) {
    const id = JSON.stringify(format.rowNames(row));
    if (!groups.has(id)) groups.set(id, { name: format.rowName(row), rows: [] });
    groups.get(id).rows.push(row);
  }
  return [...groups.values()].sort((a, b) => b.rows[0].users - a.rows[0].users);
}

// The fields that name the row of a cell: its breakdowns, currency and bucket.
export function splitOf(row) {
  return clean({ time: row.time, breakdown: row.breakdown, breakdown_2: row.breakdown_2, breakdown_3: row.breakdown_3, currency: row.currency });
}

function drawTimes(element, result) {
  const chart = h("div.chart", {});
  element.append(h("p.faint", {}, "Users by the time from the first step to the last."), chart, resultTable(result));
  stacks(chart, { labels: result.data.map((row) => format.duration(row.bin_start_seconds)), layers: [{ name: "users", color: color(0), values: result.data.map((row) => row.users) }], label: "Time to convert" });
}

function drawTrend(element, result, { q, pick, openBuckets }) {
  const last = q.steps.length;
  const times = [...new Set(result.data.map((row) => row.time))];
  const of = (names) => (row) => row.step === last && JSON.stringify(format.rowNames(row)) === names;
  const names = [...new Set(result.data.map((row) => JSON.stringify(format.rowNames(row))))];
  const series = names.map((id, index) => {
    const rows = new Map(result.data.filter(of(id)).map((row) => [row.time, row]));
    return { name: JSON.parse(id).map(format.value).join(" · ") || `${selectorName(q.steps[0])} → ${selectorName(q.steps[last - 1])}`, color: color(index), rows, values: times.map((time) => rows.get(time)?.from_first ?? null) };
  });
  const interval = q.interval ?? "week";
  const chart = h("div.chart", {});
  element.append(legend(series) ?? "", chart, resultTable(result, { interval, names: splitNames(q), cell: (row, column) => (column === "users" ? row : null), onpick: (row) => pick({ step: row.step, outcome: "converted", ...splitOf(row) }, `${row.event}, ${format.bucket(row.time, interval)}`) }));
  lines(chart, { labels: times.map((time) => format.bucket(time, interval)), series, write: format.percentTick, full: format.percent, area: true, incomplete: openBuckets(times), label: "Conversion over time",
    onpick: (index, at) => { const row = series[index].rows.get(times[at]); if (row) pick({ step: last, outcome: "converted", ...splitOf(row) }, `Converted, ${format.bucket(row.time, interval)}`, row.users); } });
}
