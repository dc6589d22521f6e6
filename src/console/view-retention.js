// Who comes back: the query `retention`.

import { breakdownPart, clean, entityPart, field, numberInput, section, select, selectorEvents, selectorPart, wherePart } from "./build.js";
import { color, legend, lines, tone } from "./charts.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { likely } from "./schema.js";
import { resultTable, splitNames } from "./table.js";
import { splitOf } from "./view-funnel.js";

export default {
  id: "retention", kind: "retention", title: "Retention", question: "Who comes back, and for how long?", intervals: ["day", "week", "month"],
  tabs: [["triangle", "Cohorts"], ["curve", "Curve"]],
  start: () => ({ birth: likely(["signup", "sign_up", "user_signed_up"]), return: "*", interval: "week", periods: 10 }),
  range: "90d",
  body: (q, tab) => (tab === "curve" ? { ...q, summary: true } : q),
  events: (q) => [...selectorEvents(q.birth), ...selectorEvents(q.return ?? "*")],
  build(q, change) {
    const events = this.events(q);
    return [
      section("Begins with", selectorPart({ label: "Birth event", value: q.birth, change: (birth) => change({ ...q, birth }) })),
      section("Comes back with", selectorPart({ label: "Return event", value: q.return ?? "*", change: (next) => change({ ...q, return: next }) })),
      section("Rules",
        field("Periods", numberInput("Periods", q.periods, (periods) => change({ ...q, periods }), { min: 1, max: 10_000 })),
        field("Back", select("Back", [["on", "in that period"], ["on_or_after", "in it or later"], ["on_or_before", "in it or before"], ["streak", "in every one so far"]], typeof q.mode === "string" ? q.mode : "on", (mode) => change(clean({ ...q, mode: mode === "on" ? undefined : mode })))),
        field("Cohorts", select("Cohorts", [["first_time", "by first time ever"], ["first_in_range", "by first in the range"], ["recurring", "by every time"]], q.cohorts ?? "first_time", (cohorts) => change(clean({ ...q, cohorts: cohorts === "first_time" ? undefined : cohorts })))),
        field("Periods are", select("Alignment", [["calendar", "of the calendar"], ["rolling", "from each birth"]], q.alignment ?? "calendar", (alignment) => change(clean({ ...q, alignment: alignment === "calendar" ? undefined : alignment })))),
        field("Times", numberInput("Return events within a period", q.at_least ?? 1, (at_least) => change(clean({ ...q, at_least: at_least === 1 ? undefined : at_least })))),
        entityPart(q, (next) => change(clean(next)))),
      wherePart({ query: q, change, events }),
      breakdownPart({ query: q, change, events }),
    ];
  },
  draw(element, result, context) {
    if (context.tab === "curve") drawCurve(element, result, context);
    else drawTriangle(element, result, context);
  },
};

const counts = (q) => !q.measure || q.measure === "users";

function drawTriangle(element, result, { q, pick }) {
  const groups = new Map();
  for (const row of result.data) {
    const id = JSON.stringify([format.rowNames(row)]);
    if (!groups.has(id)) groups.set(id, { name: format.rowName(row), cohorts: new Map() });
    const cohorts = groups.get(id).cohorts;
    if (!cohorts.has(row.cohort)) cohorts.set(row.cohort, []);
    cohorts.get(row.cohort).push(row);
  }
  const periods = Math.max(0, ...result.data.map((row) => row.period));
  const unit = q.interval ?? "day";
  for (const group of groups.values()) {
    const mean = Array.from({ length: periods + 1 }, (_, period) => {
      const rows = [...group.cohorts.values()].flat().filter((row) => row.period === period && row.complete && row.size > 0);
      const size = rows.reduce((sum, row) => sum + row.size, 0);
      return size ? rows.reduce((sum, row) => sum + (row.users ?? row.value), 0) / size : null;
    });
    const most = Math.max(...mean.slice(1).filter((rate) => rate !== null), ...[...group.cohorts.values()].flat().filter((row) => row.period > 0 && row.rate !== null).map((row) => row.rate), 0.0001);
    const tint = (rate, period) => (period === 0 ? 100 : Math.round((rate / most) * 88));
    const head = h("tr", {}, h("th", { scope: "col" }, "Cohort"), h("th.number", { scope: "col" }, counts(q) ? (q.entity === "account" ? "Accounts" : "Users") : "Size"), Array.from({ length: periods + 1 }, (_, period) => h("th", { scope: "col" }, period)));
    const meanRow = h("tr.mean", {}, h("th", { scope: "row" }, "Mean"), h("td"), mean.map((rate, period) => h("td.heat", { style: { "--heat": `${rate === null ? 0 : tint(rate, period)}%` }, class: rate === null ? "" : tone(tint(rate, period)) }, rate === null ? "" : cellText(q, rate))));
    const body = [...group.cohorts].map(([cohort, rows]) => h("tr", {},
      h("th", { scope: "row" }, format.bucket(cohort, unit)), h("td.number", {}, format.number(rows[0].size)),
      Array.from({ length: periods + 1 }, (_, period) => rows.find((row) => row.period === period)).map((row) => {
        if (!row || row.rate === null) return h("td");
        const future = !row.complete && (row.users ?? row.value) === 0;
        if (future) return h("td");
        const heat = tint(row.rate, row.period);
        const text = cellText(q, row.rate);
        const said = `${format.bucket(cohort, unit)}, ${unit} ${row.period}: ${format.number(row.users ?? row.value)} of ${format.number(row.size)}${row.complete ? "" : ", not over yet"}`;
        return h("td.heat", { style: { "--heat": `${heat}%` }, class: `${tone(heat)} ${row.complete ? "" : "open"}` },
          counts(q) ? h("button", { type: "button", title: said, "aria-label": said, onclick: () => pick(cellOf(row), said, row.users) }, text) : h("span", { title: said }, text));
      })));
    element.append(group.name ? h("h3.split-name", {}, group.name) : "", h("div.table-box", {}, h("table.triangle", {}, h("thead", {}, head), h("tbody", {}, meanRow, body))));
  }
  element.append(h("p.note", {}, `Each row: who began in that ${unit}. Each column: the share that was back that many ${unit}s later. Italic numbers are of periods that are not over.`),
    h("details", {}, h("summary", {}, "As a table"), resultTable(result, { interval: unit, names: splitNames(q) })));
}

const cellOf = (row) => clean({ cohort: row.cohort, period: row.period, ...splitOf(row) });
const cellText = (q, rate) => (counts(q) ? `${Math.round(rate * 1000) / 10}` : format.compact(rate));

function drawCurve(element, result, { q, pick }) {
  const periods = [...new Set(result.data.map((row) => row.period))];
  const names = [...new Set(result.data.map((row) => JSON.stringify(format.rowNames(row))))];
  const series = names.map((id, index) => {
    const rows = result.data.filter((row) => JSON.stringify(format.rowNames(row)) === id);
    return { name: JSON.parse(id).map(format.value).join(" · ") || "All cohorts", color: color(index), rows, values: periods.map((period) => rows.find((row) => row.period === period)?.rate ?? null) };
  });
  const unit = q.interval ?? "day";
  const [write, full] = counts(q) ? [format.percentTick, format.percent] : [format.compact, format.number];
  const open = (row) => counts(q) && row.users && pick(cellOf(row), `${unit} ${row.period}${format.rowName(row) ? `, ${format.rowName(row)}` : ""}`, row.users);
  const chart = h("div.chart", {});
  element.append(legend(series) ?? "", chart, resultTable(result, { names: splitNames(q), cell: (row, column) => (column === "users" && counts(q) ? row : null), onpick: open }));
  lines(chart, { labels: periods.map((period) => `${unit} ${period}`), series, write, full, area: true, label: "Retention curve", onpick: counts(q) ? (index, at) => open(series[index].rows[at]) : undefined });
}
