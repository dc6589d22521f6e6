// What is stored: events and their properties, cohorts, saved queries.

import { get, request, enc } from "./api.js";
import { addButton, choice, clean, field, filterPart, numberInput, section, selectorEvents, selectorPart, textInput, withCondition } from "./build.js";
import { copy, fill, h, toast } from "./dom.js";
import * as format from "./format.js";
import { openMembers, problemBox } from "./members.js";
import { likely, loadSchema, names, schema } from "./schema.js";

export const events = {
  id: "events", title: "Events", question: "Which events are there, and what do they carry?",
  show(main, { reload }) {
    const search = h("input", { type: "search", placeholder: "Search events and properties", "aria-label": "Search" });
    const list = h("div.schema", {});
    const draw = () => {
      const wanted = search.value.trim().toLowerCase();
      const found = schema.events.filter((event) => !wanted || event.event.toLowerCase().includes(wanted) || event.properties.some((property) => property.property.toLowerCase().includes(wanted)));
      fill(list, found.map((event) => h("details.card", {},
        h("summary", {}, h("strong", {}, event.event), h("span.number", {}, format.number(event.count)), h("span.faint", {}, `${event.properties.length} ${event.properties.length === 1 ? "property" : "properties"}`), h("span.faint", {}, `${format.bucket(event.first_seen.slice(0, 10))} ${event.first_seen.slice(0, 4)} to ${format.bucket(event.last_seen.slice(0, 10))} ${event.last_seen.slice(0, 4)}`)),
        h("div.bar", {}, h("a.button", { href: `#/trends?q=${enc(JSON.stringify({ series: [{ event: event.event }], interval: "day" }))}` }, "Trend"), h("a.button", { href: `#/paths?q=${enc(JSON.stringify({ start: event.event, steps: 4, limit: 8 }))}` }, "What comes next")),
        propertyTable(event.properties))),
      found.length ? null : h("p.faint", {}, "Nothing matches."),
      wanted ? null : [["Of users", schema.user_properties], ["Of accounts", schema.account_properties]].map(([label, properties]) => (properties.length ? h("section.card", {}, h("h2", {}, label), propertyTable(properties)) : null)));
    };
    search.addEventListener("input", draw);
    main.append(h("div.bar", {}, search, h("button", { type: "button", onclick: () => loadSchema().then(reload, (error) => toast(error.message)) }, "Look again")), list);
    draw();
  },
};

function propertyTable(properties) {
  if (!properties.length) return h("p.faint", {}, "It carries no properties.");
  return h("div.table-box", {}, h("table.data", {}, h("thead", {}, h("tr", {}, ["Property", "Types", "Events", "Most frequent values"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, properties.map((property) => h("tr", {}, h("td", {}, property.property), h("td.faint", {}, property.types.join(", ")), h("td.number", {}, format.number(property.count)),
      h("td", {}, property.top_values.slice(0, 6).map((top) => h("span.prop", {}, format.value(top.value), h("i", {}, format.compact(top.count))))))))));
}

export const cohorts = {
  id: "cohorts", title: "Cohorts", question: "Sets of users, by what they did and who they are",
  show(main, { alive, reload }) {
    const box = h("div", {}, h("p.faint", {}, "Looking…"));
    main.append(maker(reload), box);
    get("v1/cohorts").then((told) => {
      if (!alive()) return;
      const list = names(told);
      if (!list.length) return fill(box, h("div.empty", {}, h("p", {}, "No cohorts are stored yet."), h("p.faint", {}, "Make one above, or open any number of a chart and save the users behind it.")));
      fill(box, h("ul.cohorts", {}, list.map((name) => row(name, reload))));
    }).catch((error) => fill(box, problemBox(error)));
  },
};

function row(name, reload) {
  const about = h("pre", { hidden: true });
  const toggleAbout = async () => {
    about.hidden = !about.hidden;
    if (!about.textContent) about.textContent = await get(`v1/cohorts/${enc(name)}`).then((told) => JSON.stringify(told, null, 2), (error) => error.message);
  };
  const remove = async () => {
    if (!confirm(`Delete the cohort ${name}? Its users stay.`)) return;
    await request("DELETE", `v1/cohorts/${enc(name)}`).then(() => toast(`Cohort ${name} deleted`), (error) => toast(error.message));
    await loadSchema();
    reload();
  };
  return h("li.card", {}, h("div.bar", {}, h("strong", {}, name), h("span.grow"),
    h("button", { type: "button", onclick: () => openMembers({ title: name, cohort: name }) }, "Users"),
    h("button", { type: "button", onclick: toggleAbout }, "Definition"), h("button.danger", { type: "button", onclick: remove }, "Delete")), about);
}

// Builds a cohort from conditions that must all, or any, hold.
function maker(reload) {
  let parts = [{ did: likely(["project_created", "purchase"]), from: "-30d" }];
  let kind = "all";
  let name = "";
  const box = h("section.card.maker", {});
  const cohort = () => (parts.length === 1 ? parts[0] : { [kind]: parts });
  const put = (next) => {
    parts = next;
    draw();
  };
  const change = (index, part) => put(parts.map((old, at) => (at === index ? clean(part) : old)));
  const partRow = (part, index) => {
    const form = ["did", "did_not", "first_did", "profile", "cohort"].find((word) => word in part);
    const forms = [["did", "did"], ["did_not", "did not do"], ["first_did", "first did"], ["profile", "is"], ...(schema.cohorts.length ? [["cohort", "is in"]] : [])];
    const start = { did: { did: likely([]) }, did_not: { did_not: likely([]) }, first_did: { first_did: likely([]) }, profile: { profile: { ...withCondition(undefined), property: schema.user_properties[0]?.property ?? "plan", op: "is_set", value: undefined, on: "user" } }, cohort: { cohort: schema.cohorts[0] } };
    return h("div.cohort-part", {},
      h("div.bar", {}, choice("Users who", forms, form, (word) => change(index, start[word].profile ? { profile: clean(start[word].profile) } : start[word])), h("span.grow"),
        parts.length > 1 ? h("button.icon", { type: "button", "aria-label": "Remove", onclick: () => put(parts.filter((_, at) => at !== index)) }, "×") : null),
      form === "profile" || form === "cohort"
        ? filterPart({ value: form === "cohort" ? { cohort: part.cohort } : part.profile, events: [], change: (filter) => filter && change(index, typeof filter.cohort === "string" ? { cohort: filter.cohort } : { profile: filter }) })
        : [selectorPart({ label: "Event", value: part[form], change: (event) => change(index, { ...part, [form]: event }) }),
          h("div.condition.small", {}, form === "did" ? [h("span.faint", {}, "at least"), numberInput("At least", part.at_least ?? 1, (at_least) => change(index, { ...part, at_least: at_least === 1 ? undefined : at_least }), { min: 0 }), h("span.faint", {}, "times")] : null,
            h("span.faint", {}, "since"), textInput("Since", part.from, (from) => change(index, { ...part, from: from || undefined }), { placeholder: "ever", size: "8" }))]);
  };
  const draw = () => fill(box, section("Users who",
    parts.length > 1 ? choice("Conditions that must hold", [["all", "all of"], ["any", "any of"]], kind, (word) => { kind = word; draw(); }) : null,
    parts.map(partRow), addButton("Condition", () => put([...parts, { did: likely([], 1), from: "-30d" }]))),
  h("form.inline", { onsubmit: save }, field("Name", textInput("Name", name, (text) => { name = text; }, { placeholder: "active_creators" })),
    h("button.primary", { type: "submit" }, "Save"), h("button", { type: "button", onclick: () => openMembers({ title: name || "New cohort", cohort: cohort() }) }, "Look"), h("button", { type: "button", onclick: () => copy(JSON.stringify(cohort(), null, 2), "Cohort") }, "Copy as JSON")),
  h("div.maker-status", {}));
  async function save(event) {
    event.preventDefault();
    const status = box.querySelector(".maker-status");
    if (!name) return fill(status, h("p.faint", {}, "Give it a name."));
    try {
      await request("PUT", `v1/cohorts/${enc(name)}`, { body: cohort() });
      await loadSchema();
      toast(`Cohort ${name} saved`);
      reload();
    } catch (error) {
      fill(status, problemBox(error));
    }
  }
  draw();
  return box;
}

export const saved = {
  id: "saved", title: "Saved queries", question: "Views that were kept under a name; each has an address of its own for a spreadsheet or a dashboard",
  show(main, { alive, reload, openSaved }) {
    const box = h("div", {}, h("p.faint", {}, "Looking…"));
    main.append(box);
    get("v1/queries").then((told) => {
      if (!alive()) return;
      const list = names(told);
      if (!list.length) return fill(box, h("div.empty", {}, h("p", {}, "No queries are stored yet."), h("p.faint", {}, "“Save” in any view keeps it under a name.")));
      fill(box, h("ul.cohorts", {}, list.map((name) => {
        const address = new URL(`v1/queries/${enc(name)}.csv`, new URL(".", location.href)).href;
        const remove = async () => {
          if (!confirm(`Delete the query ${name}?`)) return;
          await request("DELETE", `v1/queries/${enc(name)}`).then(() => toast(`Query ${name} deleted`), (error) => toast(error.message));
          reload();
        };
        return h("li.card", {}, h("div.bar", {}, h("strong", {}, name), h("code.grow.clip", {}, address),
          h("button.primary", { type: "button", onclick: () => get(`v1/queries/${enc(name)}`).then(openSaved, (error) => toast(error.message)) }, "Open"),
          h("button", { type: "button", onclick: () => copy(address, "Address") }, "Copy address"), h("button.danger", { type: "button", onclick: remove }, "Delete")));
      })));
    }).catch((error) => fill(box, problemBox(error)));
  },
};
