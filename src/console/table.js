// A result as a table, whose numbers open the users behind them.

import { h } from "./dom.js";
import * as format from "./format.js";

const SHOWN_MAX = 500;
const SHARES = /(^|_)(rate|share|ratio|from_previous|from_first|nrr|grr|precision|recall|rate_did|rate_did_not)$/;

// How a column's numbers are written, by its name.
export function writer(name) {
  if (name.endsWith("_seconds")) return format.duration;
  if (name === "quick_ratio") return format.number;
  return SHARES.test(name) ? format.percent : format.number;
}

// What the columns of a query's breakdowns are called.
export function splitNames(q) {
  const list = q.breakdown === undefined ? [] : Array.isArray(q.breakdown) ? q.breakdown : [q.breakdown];
  return Object.fromEntries(list.map((item, index) => [index ? `breakdown_${index + 1}` : "breakdown", item.property ?? "cohort"]));
}

// cell(row, column): the name of the cell and what it is called, or null if no set of users is behind it.
export function resultTable({ meta, data }, { cell, onpick, interval, hide = [], names = {} } = {}) {
  const columns = meta.filter((column) => !hide.includes(column.name));
  const numeric = (column) => /^(u?int|float|double|decimal|number)/.test(column.type);
  const told = (row, column) => {
    const value = row[column.name];
    if (column.name === "time" || column.name === "cohort") return format.bucket(value, interval);
    if (numeric(column) && (typeof value === "number" || value === null)) {
      const text = writer(column.name)(value);
      const found = value && cell ? cell(row, column.name) : null;
      return found ? h("button.number", { type: "button", onclick: () => onpick(found, value) }, text) : text;
    }
    if (typeof value === "boolean") return value ? "yes" : "no";
    return value === null && !column.name.startsWith("breakdown") ? format.missing : format.value(value);
  };
  const body = data.slice(0, SHOWN_MAX).map((row) => h("tr", {}, columns.map((column) => h("td", { class: numeric(column) ? "number" : "" }, told(row, column)))));
  return h("div.table-box.data-box", {},
    h("table.data", {},
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: numeric(column) ? "number" : "" }, names[column.name] ?? column.name.replace(/_seconds$/, "").replaceAll("_", " "))))),
      h("tbody", {}, body)),
    data.length > SHOWN_MAX ? h("p.faint", {}, `The first ${SHOWN_MAX} of ${format.number(data.length)} rows; the download has all.`) : null);
}
