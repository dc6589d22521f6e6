// What there is to pick from: events, properties, stored cohorts. Fetched once, and again on demand.

import { get } from "./api.js";

const empty = { events: [], user_properties: [], account_properties: [], cohorts: [], loaded: false };

export const schema = { ...empty };

export async function loadSchema() {
  const [found, cohorts] = await Promise.all([get("v1/schema"), get("v1/cohorts")]);
  Object.assign(schema, empty, found, { cohorts: names(cohorts), loaded: true });
  schema.events.sort((a, b) => b.count - a.count);
  return schema;
}

// A list of stored documents is of names, or of objects that have one.
export function names(told) {
  const list = Array.isArray(told) ? told : told.cohorts || told.queries || told.data || [];
  return list.map((item) => (typeof item === "string" ? item : item.name));
}

export const eventNamed = (name) => schema.events.find((event) => event.event === name);

// The moment after everything that was stored, in epoch milliseconds; null without events.
export function lastSeen() {
  const times = schema.events.map((event) => Date.parse(event.last_seen)).filter(Number.isFinite);
  return times.length ? Math.max(...times) : null;
}

export function firstSeen() {
  const times = schema.events.map((event) => Date.parse(event.first_seen)).filter(Number.isFinite);
  return times.length ? Math.min(...times) : null;
}

// The properties that some of these events carry; of all events if none is named.
export function eventProperties(events) {
  const wanted = events.filter((name) => name && name !== "*").map(eventNamed).filter(Boolean);
  const merged = new Map();
  for (const event of wanted.length ? wanted : schema.events) {
    for (const property of event.properties) {
      const known = merged.get(property.property);
      if (!known) merged.set(property.property, { ...property, types: [...property.types], top_values: [...property.top_values] });
      else {
        known.count += property.count;
        known.types = [...new Set([...known.types, ...property.types])];
        known.top_values.push(...property.top_values);
      }
    }
  }
  return [...merged.values()].sort((a, b) => b.count - a.count || (a.property < b.property ? -1 : 1));
}

export function propertyOf(on, name, events) {
  const list = on === "user" ? schema.user_properties : on === "account" ? schema.account_properties : eventProperties(events);
  return list.find((property) => property.property === name);
}

// The first of these events that is there, else one by how often it happens.
export function likely(wanted, rank = 0) {
  for (const name of wanted) if (eventNamed(name)) return name;
  return schema.events[Math.min(rank, schema.events.length - 1)]?.event ?? "*";
}
