// How numbers, times and values are written.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const decimal = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const missing = "–";

export function number(value) {
  if (value === null || value === undefined) return missing;
  return Number.isInteger(value) ? whole.format(value) : decimal.format(value);
}

// For axes and tight places: 12.3K.
export function compact(value) {
  return Math.abs(value) < 10_000 ? number(value) : short.format(value);
}

export function percent(share) {
  if (share === null || share === undefined) return missing;
  const value = share * 100;
  const digits = value === 0 || value === 100 ? 0 : Math.abs(value) < 10 ? 1 : Math.abs(value) < 99.95 || Math.abs(value) > 100 ? 1 : 2;
  return `${value.toFixed(digits)} %`;
}

// For axes: no decimals where none are needed.
export function percentTick(share) {
  return `${Number((share * 100).toPrecision(3))} %`;
}

// 1 user, 2 users.
export function count(value, noun) {
  return `${number(value)} ${value === 1 ? noun.replace(/s$/, "") : noun}`;
}

const UNITS = [[86_400, "d"], [3_600, "h"], [60, "m"], [1, "s"]];

// The two largest units of a time in seconds: 2h 5m.
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return missing;
  if (seconds < 1) return seconds === 0 ? "0s" : `${Math.round(seconds * 1000)}ms`;
  let rest = Math.round(seconds);
  const parts = [];
  for (const [size, unit] of UNITS) {
    if (rest >= size) {
      parts.push(`${Math.floor(rest / size)}${unit}`);
      rest %= size;
    } else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// The start of a bucket as the API tells it, 2024-03-01 or 2024-03-01T09:00:00Z, in few characters.
export function bucket(text, interval) {
  const found = /^(\d+)-(\d\d)-(\d\d)(?:T(\d\d:\d\d))?/.exec(text);
  if (!found) return String(text);
  const [, year, month, day, clock] = found;
  const name = MONTHS[month - 1];
  if (interval === "year") return year;
  if (interval === "quarter") return `Q${Math.ceil(month / 3)} ${year}`;
  if (interval === "month") return `${name} ${year}`;
  return clock ? `${Number(day)} ${name} ${clock}` : `${Number(day)} ${name}`;
}

// A moment of the API for people: 31 Oct 2026, 23:58:12.
export function moment(text) {
  const found = /^(\d+)-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)/.exec(text || "");
  if (!found) return text || missing;
  return `${Number(found[3])} ${MONTHS[found[2] - 1]} ${found[1]}, ${found[4]}`;
}

// A property's value, or the name of a row.
export function value(value) {
  if (value === null || value === undefined) return "(none)";
  if (value === "$other") return "(other)";
  if (value === "$end") return "(end)";
  if (Array.isArray(value)) return value.map((item) => (typeof item === "string" ? item : String(item))).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

// The names of a row in its breakdowns; an empty list without any.
export function rowNames(row) {
  return ["breakdown", "breakdown_2", "breakdown_3"].filter((name) => name in row).map((name) => row[name]);
}

export function rowName(row) {
  return rowNames(row).map(value).join(" · ");
}
