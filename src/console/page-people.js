// One user or account: who they are, and what they did.

import { get, enc } from "./api.js";
import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { openMembers, problemBox } from "./members.js";
import { propertyChips } from "./page-live.js";

const PAGE = 100;

function page(entity, title, question) {
  return {
    id: `${entity}s`, title, question,
    show(main, { params, go, alive }) {
      const input = h("input", { type: "search", placeholder: `Id of ${entity === "user" ? "a user" : "an account"}`, "aria-label": "Id", value: params.get("id") ?? "", autocomplete: "off", spellcheck: "false" });
      const form = h("form.bar", {}, input, h("button.primary", { type: "submit" }, "Show"),
        h("button", { type: "button", onclick: () => openMembers({ title: `All ${entity}s`, entity, cohort: { any: [{ did: "*" }, { did_not: "*" }] } }) }, `All ${entity}s`));
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        if (input.value.trim()) go(`${entity}s`, { id: input.value.trim() });
      });
      const box = h("div", {});
      main.append(form, box);
      const id = params.get("id");
      if (!id) return fill(box, h("div.empty", {}, h("p", {}, `Give the id of ${entity === "user" ? "a user" : "an account"} to see its timeline.`), h("p.faint", {}, "Every number of the other views leads here, too.")));
      fill(box, h("p.faint", {}, "Looking…"));
      load(box, entity, id, alive).catch((error) => alive() && fill(box, problemBox(error)));
    },
  };
}

async function load(box, entity, id, alive) {
  const address = `v1/${entity}s/${enc(id)}?limit=${PAGE}`;
  const found = await get(address);
  if (!alive()) return;
  const name = found[entity] ?? id;
  const facts = [["Events", format.number(found.event_count)], ["First seen", format.moment(found.first_seen)], ["Last seen", format.moment(found.last_seen)]];
  const timeline = h("div.timeline", {});
  const more = h("div.drawer-more", {});
  let oldest;
  let day;
  let dayList;
  const append = (events) => {
    for (const event of events) {
      const date = event.time.slice(0, 10);
      if (date !== day) {
        day = date;
        dayList = h("ol", {});
        timeline.append(h("h3", {}, `${format.bucket(date)} ${date.slice(0, 4)}`), dayList);
      }
      dayList.append(h("li", {}, h("time", {}, event.time.slice(11, 19)), h("strong", {}, event.event),
        event.account ? h("a.faint", { href: `#/accounts?id=${enc(event.account)}` }, event.account) : event.user ? h("a.faint", { href: `#/users?id=${enc(event.user)}` }, event.user) : null,
        h("span.props", {}, propertyChips(event.properties))));
    }
    oldest = events.length ? events[events.length - 1].time : null;
    fill(more, events.length >= PAGE ? h("button", { type: "button", onclick: older }, "Show older") : null);
  };
  async function older() {
    try {
      append((await get(`${address}&before=${enc(oldest)}`)).events);
    } catch (error) {
      fill(more, problemBox(error));
    }
  }
  const ids = (found.ids ?? []).filter((other) => other !== name);
  const profile = Object.entries(found.profile ?? {});
  fill(box, h("div.person", {},
    h("aside.card", {}, h("h2", {}, name), h("dl", {}, facts.map(([label, text]) => [h("dt", {}, label), h("dd", {}, text)])),
      ids.length ? [h("h3", {}, "Also known as"), h("ul.ids", {}, ids.map((other) => h("li", {}, other)))] : null,
      found.users ? [h("h3", {}, "Users"), h("ul.ids", {}, found.users.map((user) => h("li", {}, h("a", { href: `#/users?id=${enc(user)}` }, user))))] : null,
      h("h3", {}, "Profile"), profile.length ? h("dl", {}, profile.map(([label, value]) => [h("dt", {}, label), h("dd", {}, format.value(value))])) : h("p.faint", {}, "Nothing is known.")),
    h("section.card", {}, h("h2", {}, "Timeline"), timeline, more)));
  append(found.events);
}

export const users = page("user", "Users", "Who is this, and what did they do?");
export const accounts = page("account", "Accounts", "Which company is this, and what happened there?");
