// How often, by how many, how much: the query `segmentation`.

import { addButton, breakdownPart, clean, entityPart, field, section, select, selectorEvents, selectorName, selectorPart, textInput, toggle, wherePart } from "./build.js";
import { color, legend, lines } from "./charts.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { picker } from "./picker.js";
import { eventProperties } from "./schema.js";
import { resultTable, splitNames } from "./table.js";

const MEASURES = [
  ["users", "Users"], ["events", "Events"], ["accounts", "Accounts"], ["per_user", "Events per user"], ["first_time_users", "First-time users"],
  ["sum", "Sum of…"], ["avg", "Average of…"], ["median", "Median of…"], ["min", "Least…"], ["max", "Greatest…"], ["p90", "90th percentile…"], ["p95", "95th percentile…"], ["p99", "99th percentile…"],
];
const letter = (index) => String.fromCharCode(65 + index);

function measurePart(series, change) {
  const of = typeof series.measure === "object" ? Object.keys(series.measure)[0] : null;
  const word = of ?? series.measure ?? "events";
  const properties = () => eventProperties(selectorEvents(series.event)).filter((property) => property.types.includes("number"));
  const set = (next) => {
    const plain = MEASURES.findIndex(([known]) => known === next) < 5;
    change({ ...series, measure: plain ? (next === "events" ? undefined : next) : { [next]: of ? series.measure[of] : properties()[0]?.property ?? "amount" } });
  };
  return h("div.condition", {}, select("Measure", MEASURES, word, set),
    of ? picker({ label: "Property", value: series.measure[of], free: true, groups: () => [{ label: "Numbers", options: properties().map((property) => ({ value: property.property, label: property.property })) }], onpick: (property) => change({ ...series, measure: { [of]: property } }) }) : null);
}

const seriesName = (series, index) => series.as ?? letter(index);
const shownName = (q, name) => {
  const index = q.series.findIndex((series, at) => seriesName(series, at) === name);
  return index < 0 ? name : q.series[index].as ?? `${q.series.length > 1 ? `${letter(index)}: ` : ""}${selectorName(q.series[index].event)}`;
};

export default {
  id: "trends", kind: "segmentation", title: "Trends", question: "How often, by how many, how much?", intervals: true,
  start: () => ({ series: [{ event: "*", measure: "users" }], interval: "day" }),
  body: (q) => q,
  events: (q) => q.series.flatMap((series) => selectorEvents(series.event)),
  build(q, change) {
    const put = (series) => change({ ...q, series });
    const events = this.events(q);
    return [
      section("Series", q.series.map((series, index) => selectorPart({
        label: `Event of series ${letter(index)}`, number: letter(index), value: typeof series.event === "object" ? { ...series.event } : series.event,
        change: (event) => put(q.series.map((old, at) => (at === index ? { ...old, event } : old))),
        onremove: q.series.length > 1 ? () => put(q.series.filter((_, at) => at !== index)) : null,
        extra: () => measurePart(series, (next) => put(q.series.map((old, at) => (at === index ? clean(next) : old)))),
      })), q.series.length < 26 ? addButton("Series", () => put([...q.series, { event: q.series[q.series.length - 1].event, measure: "users" }])) : null),
      wherePart({ query: q, change, events }),
      breakdownPart({ query: q, change, events }),
      section("Options",
        field("Formula", textInput("Formula over the series' letters", q.formula, (formula) => change(clean({ ...q, formula: formula || undefined })), { placeholder: "A / B" })),
        field("Compare with", select("Compare with", [["", "nothing"], ["-1d", "a day before"], ["-1w", "a week before"], ["-1mo", "a month before"], ["-1y", "a year before"]], q.compare ?? "", (compare) => change(clean({ ...q, compare: compare || undefined })))),
        field("Trailing", select("Trailing window", [["", "none"], ["7d", "7 days"], ["28d", "28 days"], ["30d", "30 days"]], q.rolling ?? "", (rolling) => change(clean({ ...q, rolling: rolling || undefined })))),
        toggle("Running total", q.cumulative, (cumulative) => change(clean({ ...q, cumulative }))),
        entityPart(q, (next) => change(clean(next)))),
    ];
  },
  draw(element, result, { q, pick, openBuckets }) {
    const labels = [...new Set(result.data.map((row) => row.time))];
    const groups = new Map();
    for (const row of result.data) {
      const split = format.rowName(row);
      const name = [q.series.length > 1 || !split ? shownName(q, row.series) : "", split].filter(Boolean).join(" · ");
      const id = JSON.stringify([row.series, format.rowNames(row), row.compare ?? 0]);
      if (!groups.has(id)) groups.set(id, { name: row.compare ? `${name}, before` : name, before: Boolean(row.compare), rows: new Map() });
      groups.get(id).rows.set(row.time, row);
    }
    const list = [...groups.values()];
    let painted = 0;
    const series = list.map((group) => ({ ...group, color: group.before ? color(Math.max(0, painted - 1)) : color(painted++), dashed: group.before, values: labels.map((time) => group.rows.get(time)?.value ?? null) }));
    const chart = h("div.chart", {});
    const open = (row) => {
      const cell = cellOf(q, row);
      if (cell) pick(cell, `${shownName(q, row.series)}, ${[format.rowName(row), format.bucket(row.time, q.interval)].filter(Boolean).join(", ")}`, row.value);
    };
    element.append(legend(series) ?? "", chart, resultTable(result, {
      interval: q.interval, names: { ...splitNames(q), value: measureName(q) }, hide: q.series.length === 1 && !q.formula ? ["series"] : [],
      cell: (row, column) => (column === "value" && cellOf(q, row) ? row : null), onpick: (row) => open(row),
    }));
    lines(chart, { labels: labels.map((time) => format.bucket(time, q.interval)), series, area: true, incomplete: openBuckets(labels), label: `Trend of ${series.map((each) => each.name).join(", ")}`,
      onpick: (index, at) => series[index].rows.get(labels[at]) && open(series[index].rows.get(labels[at])) });
  },
};

const measureName = (q) => (q.series.length === 1 && typeof q.series[0].measure === "string" ? q.series[0].measure.replaceAll("_", " ") : "value");

// Only numbers of users, or of events, have users behind them.
function cellOf(q, row) {
  const series = q.series.find((each, index) => seriesName(each, index) === row.series);
  if (q.formula || !series || !["users", "events", "first_time_users", undefined].includes(series.measure)) return null;
  const { value, ...cell } = row;
  return cell;
}
