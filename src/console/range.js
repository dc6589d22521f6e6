// Which time a view looks at: a word such as 30d in its address, definite dates in its query.
//
// Dates are aligned to the interval, so that the first bucket is a whole one. Where the data ended some time ago, as
// imported histories do, "last 30 days" means the last 30 that have any, and `as_of` says so.

import { h } from "./dom.js";
import { lastSeen, firstSeen } from "./schema.js";
import { INTERVALS, choice, field, select, textInput } from "./build.js";

const DAY = 86_400_000;

export const RANGES = [["7d", "7 d"], ["30d", "30 d"], ["90d", "90 d"], ["26w", "6 mo"], ["12mo", "12 mo"], ["all", "All"]];

const iso = (ms) => new Date(ms).toISOString().slice(0, 10);

// Midnight (UTC) after everything there is, if that is over; else midnight after today.
function end() {
  const last = lastSeen();
  const now = Date.now();
  const ended = last !== null && last < now - 2 * DAY;
  const at = ended ? last : now;
  return { ended, day: Math.floor(at / DAY) * DAY + DAY };
}

// { from, to, as_of } of a query.
export function resolve(range, interval) {
  const { ended, day } = end();
  const until = ended ? { to: iso(day), as_of: iso(day) } : {};
  const custom = /^(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?$/.exec(range);
  if (custom) {
    const times = { from: custom[1], to: custom[2] || until.to, as_of: until.as_of };
    return Object.fromEntries(Object.entries(times).filter(([, value]) => value));
  }
  if (range === "all") {
    const first = firstSeen();
    return first === null ? until : { from: iso(align(first, interval)), ...until };
  }
  const found = /^(\d+)(d|w|mo)$/.exec(range) || [null, "30", "d"];
  const count = Number(found[1]);
  const start = new Date(day);
  if (found[2] === "mo") start.setUTCMonth(start.getUTCMonth() - count);
  const from = found[2] === "mo" ? start.getTime() : day - count * DAY * (found[2] === "w" ? 7 : 1);
  return { from: iso(align(from, interval)), ...until };
}

function align(ms, interval) {
  const date = new Date(Math.floor(ms / DAY) * DAY);
  if (interval === "week") date.setUTCDate(date.getUTCDate() - ((date.getUTCDay() + 6) % 7));
  if (interval === "month") date.setUTCDate(1);
  if (interval === "quarter") date.setUTCMonth(date.getUTCMonth() - (date.getUTCMonth() % 3), 1);
  if (interval === "year") date.setUTCMonth(0, 1);
  return date.getTime();
}

// The same for a stored query, which should go on with the time where it can.
export function rolling(range, times) {
  return /^\d+(d|w|mo)$/.test(range) && !times.as_of ? { from: `-${range}` } : times;
}

// The row of fields above a chart. `intervals`: whether the view has one, and from which on.
export function rangeBar({ range, interval, zone, setRange, setInterval, setZone, intervals }) {
  const times = resolve(range, interval);
  const known = RANGES.some(([word]) => word === range);
  const dates = h("div.dates", {},
    h("input", { type: "date", "aria-label": "From", value: times.from || "", onchange: (event) => setRange(`${event.target.value}..${known ? "" : times.to || ""}`) }),
    h("span.faint", {}, "to"),
    h("input", { type: "date", "aria-label": "To, not included", value: times.to || "", onchange: (event) => setRange(`${times.from || ""}..${event.target.value}`) }));
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = [...new Set(["UTC", zone || "UTC", local, "America/New_York", "America/Los_Angeles", "Europe/London", "Europe/Berlin", "Asia/Tokyo", "Australia/Sydney"])];
  return h("div.range-bar", {},
    choice("Range", RANGES, range, setRange), dates,
    intervals ? field("by", select("Interval", INTERVALS.filter(([word]) => intervals === true || intervals.includes(word)), interval, setInterval)) : null,
    h("span.zone", {}, select("Time zone", zones.map((name) => [name, name]), zone || "UTC", setZone)));
}
