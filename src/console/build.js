// The parts that queries are built from: events, filters, breakdowns, and small fields.
//
// Each part reads its value from the query and hands the changed value to `change`. What is too deep for a part to
// show, such as a nested filter, is told as JSON and kept as it is.

import { h } from "./dom.js";
import * as format from "./format.js";
import { picker } from "./picker.js";
import { schema, eventNamed, eventProperties, propertyOf } from "./schema.js";

export function section(title, ...children) {
  return h("section.build-part", {}, h("h3", {}, title), ...children);
}

export function field(label, control) {
  return h("label.field", {}, h("span", {}, label), control);
}

// Few words, one of which is chosen. options: [[value, label]].
export function choice(label, options, value, change) {
  const row = h("div.choice", { role: "radiogroup", "aria-label": label });
  options.forEach(([word, text], index) => {
    const on = word === value;
    const button = h("button", { type: "button", role: "radio", "aria-checked": String(on), tabindex: on ? "0" : "-1", class: on ? "on" : "" }, text);
    button.addEventListener("click", () => change(word));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      change(options[(index + step + options.length) % options.length][0]);
    });
    row.append(button);
  });
  return row;
}

export function select(label, options, value, change) {
  const element = h("select", { "aria-label": label }, options.map(([word, text]) => h("option", { value: word }, text)));
  element.value = value;
  element.addEventListener("change", () => change(element.value));
  return element;
}

export function textInput(label, value, change, props = {}) {
  const element = h("input", { type: "text", "aria-label": label, value: value ?? "", spellcheck: "false", autocomplete: "off", ...props });
  element.addEventListener("change", () => change(element.value.trim()));
  return element;
}

export function numberInput(label, value, change, { min = 1, max } = {}) {
  const element = h("input", { type: "number", "aria-label": label, value: value ?? "", min, max });
  element.addEventListener("change", () => change(element.value === "" ? undefined : Number(element.value)));
  return element;
}

export function toggle(label, value, change) {
  const box = h("input", { type: "checkbox" });
  box.checked = Boolean(value);
  box.addEventListener("change", () => change(box.checked || undefined));
  return h("label.toggle", {}, box, h("span", {}, label));
}

export function remove(label, onclick) {
  return h("button.icon", { type: "button", "aria-label": label, title: label, onclick }, "×");
}

export function addButton(label, onclick) {
  return h("button.add", { type: "button", onclick }, "+ ", label);
}

// --- Events

export function selectorName(selector) {
  if (typeof selector === "string") return selector === "*" ? "Any event" : selector;
  if (selector?.as) return selector.as;
  if (selector?.event) return selectorName(selector.event);
  if (selector?.any_of) return selector.any_of.map(selectorName).join(" or ");
  return "";
}

// The names of the events that a selector means; none for any event.
export function selectorEvents(selector) {
  if (typeof selector === "string") return selector === "*" ? [] : [selector];
  if (selector?.any_of) return selector.any_of.flatMap(selectorEvents);
  return selectorEvents(selector?.event ?? "*");
}

export function eventOptions() {
  const events = schema.events.map((event) => ({ value: event.event, label: event.event, note: format.compact(event.count) }));
  return [{ label: "", options: [{ value: "*", label: "Any event" }] }, { label: "Events", options: events }];
}

// An event and the conditions on it. Keeps other fields of the selector, such as a step's `within`.
export function selectorPart({ label, value, change, onremove, extra, number }) {
  const parts = typeof value === "object" && value !== null ? value : { event: value };
  const set = (next) => {
    const { event, ...rest } = next;
    const bare = Object.values(rest).every((item) => item === undefined);
    change(bare && event !== undefined ? event : clean(next));
  };
  const nested = parts.any_of || typeof parts.event === "object";
  const name = nested
    ? h("code.chip", { title: JSON.stringify(value) }, selectorName(value))
    : picker({ label, value: parts.event ? selectorName(parts.event) : "", placeholder: "Choose an event", groups: eventOptions, free: true, onpick: (event) => set({ ...parts, event }) });
  return h("div.selector", {},
    h("div.selector-head", {}, number ? h("span.step-number", {}, number) : null, name,
      nested ? null : h("button.icon", { type: "button", title: "Add a condition", "aria-label": `Add a condition to ${selectorName(value)}`, onclick: () => set({ ...parts, where: withCondition(parts.where, parts.event) }) }, "⊕"),
      onremove ? remove(`Remove ${selectorName(value)}`, onremove) : null),
    parts.where ? filterPart({ value: parts.where, change: (where) => set({ ...parts, where }), events: selectorEvents(value) }) : null,
    extra ? extra(parts, set) : null);
}

// The object without fields that are undefined.
export function clean(object) {
  return Object.fromEntries(Object.entries(object).filter(([, item]) => item !== undefined));
}

// --- Filters

const OPS = [
  ["eq", "is"], ["ne", "is not"], ["in", "is one of"], ["not_in", "is none of"], ["contains", "contains"], ["not_contains", "does not contain"],
  ["starts_with", "starts with"], ["ends_with", "ends with"], ["matches", "matches"], ["gt", ">"], ["gte", "≥"], ["lt", "<"], ["lte", "≤"],
  ["between", "is between"], ["is_set", "is set"], ["is_not_set", "is not set"],
];
const LISTS = ["in", "not_in", "between"];
const TEXTS = ["contains", "not_contains", "starts_with", "ends_with", "matches"];

// A first condition, or one more.
export function withCondition(filter, event) {
  const [first] = eventProperties(event ? [event] : []);
  const fresh = first
    ? { property: first.property, op: "eq", value: first.top_values[0]?.value ?? "" }
    : { property: schema.user_properties[0]?.property ?? "plan", op: "is_set", on: "user" };
  if (!filter) return fresh;
  const [kind, list] = conditions(filter);
  return { [kind]: [...list, fresh] };
}

function conditions(filter) {
  if (filter.all) return ["all", filter.all];
  if (filter.any) return ["any", filter.any];
  return ["all", [filter]];
}

// Conditions that all, or any, must hold. `events` are those whose properties are offered.
export function filterPart({ value, change, events }) {
  const [kind, list] = conditions(value);
  const put = (next, word = kind) => change(next.length === 0 ? undefined : next.length === 1 ? next[0] : { [word]: next });
  const rows = list.map((condition, index) =>
    conditionRow(condition, events, (next) => put(list.map((old, at) => (at === index ? next : old))), () => put(list.filter((_, at) => at !== index))));
  return h("div.filter", {},
    list.length > 1 ? choice("Conditions that must hold", [["all", "all of"], ["any", "any of"]], kind, (word) => put(list, word)) : null,
    rows);
}

function conditionRow(condition, events, change, onremove) {
  if ("cohort" in condition && typeof condition.cohort === "string") {
    const pick = picker({ label: "Cohort", value: condition.cohort, groups: () => [{ label: "Cohorts", options: schema.cohorts.map((name) => ({ value: name, label: name })) }], onpick: (name) => change({ cohort: name }) });
    return h("div.condition", {}, h("span.faint", {}, "in cohort"), pick, remove("Remove the condition", onremove));
  }
  if (!("property" in condition)) {
    return h("div.condition", {}, h("code.chip", {}, JSON.stringify(condition)), remove("Remove the condition", onremove));
  }
  const on = condition.on || "event";
  const pickProperty = picker({
    label: "Property", value: propertyLabel(condition.property, on), free: true, groups: () => propertyOptions(events, true),
    onpick: (_, option) => {
      if (option.cohort) return change({ cohort: option.cohort });
      change(clean({ property: option.property ?? option.value, op: condition.op, value: undefined, on: option.on === "event" ? undefined : option.on, ...firstValue(option, condition.op) }));
    },
  });
  const setOp = (op) => {
    const needsNone = op.startsWith("is_");
    const old = condition.value;
    const single = Array.isArray(old) ? old[0] : old;
    const list = Array.isArray(old) ? old : old === undefined ? [] : [old];
    const value = needsNone ? undefined : op === "between" ? [list[0] ?? 0, list[1] ?? list[0] ?? 0] : LISTS.includes(op) ? list : TEXTS.includes(op) ? String(single ?? "") : single ?? "";
    change(clean({ ...condition, op, value }));
  };
  return h("div.condition", {}, pickProperty, select("Comparison", OPS, condition.op, setOp), valueInput(condition, on, events, change), remove("Remove the condition", onremove));
}

function firstValue(option, op) {
  if (op.startsWith("is_")) return {};
  const found = propertyOf(option.on ?? "event", option.property, [])?.top_values[0]?.value ?? "";
  return { value: op === "between" ? [found, found] : LISTS.includes(op) ? [found] : TEXTS.includes(op) ? String(found) : found };
}

function propertyLabel(name, on) {
  return on === "event" ? name : `${name} (${on})`;
}

export function propertyOptions(events, withCohorts, lasting = false) {
  const of = (on) => (property) => ({ value: `${on}:${property.property}`, property: property.property, on, label: propertyLabel(property.property, on), note: property.types.join(", ") });
  return [
    lasting ? null : { label: "Of the event", options: eventProperties(events).map(of("event")) },
    { label: "Of the user", options: schema.user_properties.map(of("user")) },
    { label: "Of the account", options: schema.account_properties.map(of("account")) },
    withCohorts ? { label: "Cohorts", options: schema.cohorts.map((name) => ({ value: `cohort:${name}`, cohort: name, label: `in ${name}` })) } : null,
  ].filter((group) => group && group.options.length);
}

function valueInput(condition, on, events, change) {
  if (condition.op.startsWith("is_")) return null;
  const property = propertyOf(on, condition.property, events);
  const parse = (text) => {
    const numeric = property ? property.types.includes("number") && !property.types.includes("string") : /^-?\d+(\.\d+)?$/.test(text);
    if (TEXTS.includes(condition.op)) return text;
    if (numeric && text !== "" && Number.isFinite(Number(text))) return Number(text);
    return text === "true" ? true : text === "false" ? false : text;
  };
  const set = (value) => change({ ...condition, value });
  if (condition.op === "eq" || condition.op === "ne") {
    const options = () => [{ label: "Most frequent", options: (property?.top_values ?? []).map((top) => ({ value: top.value, label: format.value(top.value), note: format.compact(top.count) })) }];
    return picker({ label: "Value", value: condition.value === "" ? "" : format.value(condition.value), placeholder: "a value", groups: options, free: true, onpick: (value, option) => set(option.note === undefined ? parse(String(value)) : value) });
  }
  if (LISTS.includes(condition.op)) {
    const list = Array.isArray(condition.value) ? condition.value : [];
    return textInput("Values, with commas between", list.join(", "), (text) => set(text.split(",").map((item) => parse(item.trim())).filter((item) => item !== "")), { placeholder: "a, b" });
  }
  return textInput("Value", condition.value, (text) => set(parse(text)));
}

// --- Breakdowns

// `lasting`: only by what users and accounts are, as some queries ask.
export function breakdownPart({ query, change, events, lasting = false, max = 3 }) {
  const list = query.breakdown === undefined ? [] : Array.isArray(query.breakdown) ? query.breakdown : [query.breakdown];
  const put = (next) => change({ ...query, breakdown: next.length === 0 ? undefined : next.length === 1 ? next[0] : next });
  const from = (option) => (option.cohort
    ? { cohorts: { [option.cohort]: option.cohort, [`not ${option.cohort}`]: { not: option.cohort } } }
    : clean({ property: option.property ?? option.value, on: option.on === "event" || !option.on ? undefined : option.on, limit: 6 }));
  const rows = list.map((item, index) => h("div.condition", {},
    picker({ label: "Split by", value: item.cohorts ? `cohorts: ${Object.keys(item.cohorts).join(", ")}` : propertyLabel(item.property, item.on || "event"), groups: () => propertyOptions(events, true, lasting), free: !lasting,
      onpick: (_, option) => put(list.map((old, at) => (at === index ? from(option) : old))) }),
    item.cohorts ? null : h("span.faint", {}, "top"), item.cohorts ? null : numberInput("Values kept", item.limit ?? 25, (limit) => put(list.map((old, at) => (at === index ? { ...old, limit } : old))), { max: 10_000 }),
    remove("Remove the split", () => put(list.filter((_, at) => at !== index)))));
  const button = list.length < max
    ? picker({ label: "Split by", value: "", placeholder: "+ Split by a property or cohort", groups: () => propertyOptions(events, true, lasting), free: !lasting, className: "add", onpick: (_, option) => put([...list, from(option)]) })
    : null;
  return section("Split", rows, button);
}

// The filter on the whole query, and whom it counts.
export function wherePart({ query, change, events }) {
  return section("Only where",
    query.where ? filterPart({ value: query.where, change: (where) => change({ ...query, where }), events }) : null,
    addButton("Condition", () => change({ ...query, where: withCondition(query.where, events[0]) })));
}

export function entityPart(query, change) {
  return field("Count", choice("Count", [["user", "Users"], ["account", "Accounts"]], query.entity || "user", (entity) => change({ ...query, entity: entity === "user" ? undefined : entity })));
}

export const INTERVALS = [["hour", "Hour"], ["day", "Day"], ["week", "Week"], ["month", "Month"], ["quarter", "Quarter"], ["year", "Year"]];

export function knownEvent(name) {
  return Boolean(eventNamed(name));
}
