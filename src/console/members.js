// The users behind a number: listed, opened, saved as a cohort, downloaded.

import { Problem, query, request, enc } from "./api.js";
import { copy, dialog, download, fill, h, toast } from "./dom.js";
import * as format from "./format.js";
import { loadSchema } from "./schema.js";

const PAGE = 100;

// `cohort`: an expression. `entity`: user or account. `expected`: the number that was clicked on.
export function openMembers({ title, detail, cohort, entity = "user", times = {}, expected }) {
  const base = { cohort, ...(entity === "account" ? { entity } : {}), ...(times.timezone ? { timezone: times.timezone } : {}) };
  return dialog(title, "drawer", (close) => {
    const list = h("ul.members", {});
    const more = h("div.drawer-more", {});
    const status = h("p.faint", { role: "status" }, "Looking…");
    let all = [];
    async function page() {
      fill(more);
      const after = all.length ? { after: all[all.length - 1] } : {};
      const result = await query("cohort", { ...base, select: "members", limit: PAGE, ...after });
      const column = result.meta[0].name;
      const found = result.data.map((row) => row[column]);
      all = all.concat(found);
      list.append(...found.map((id) => h("li", {}, h("a", { href: `#/${entity}s?id=${enc(id)}`, onclick: close }, id))));
      if (found.length === PAGE) fill(more, h("button", { type: "button", onclick: () => guard(page) }, "Show more"));
    }
    async function count() {
      const result = await query("cohort", { ...base, select: "count" });
      const found = Object.values(result.data[0])[0];
      const noun = entity === "account" ? "account" : "user";
      fill(status, h("strong", {}, format.number(found)), ` ${noun}${found === 1 ? "" : "s"}`, detail ? `, ${detail}` : "",
        expected !== undefined && expected !== found && Number.isInteger(expected) ? h("span.faint", {}, ` (the number shown was ${format.number(expected)})`) : null);
    }
    const guard = (work) => work().catch((error) => fill(status, problemBox(error)));
    guard(() => Promise.all([count(), page()]));
    const name = h("input", { type: "text", placeholder: "cohort_name", "aria-label": "Name of the cohort", maxlength: "100" });
    const fixed = h("input", { type: "checkbox" });
    const save = h("form.inline", {},
      name, h("label.toggle", { title: "Keeps these members, instead of asking again at each use" }, fixed, h("span", {}, "keep as they are now")), h("button.primary", { type: "submit" }, "Save as cohort"));
    save.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = name.value.trim();
      if (!text) return name.focus();
      guard(async () => {
        // A stored cohort is an expression, with "static" beside it.
        await request("PUT", `v1/cohorts/${enc(text)}`, { body: fixed.checked ? { ...stored(cohort), static: true } : stored(cohort) });
        await loadSchema();
        toast(`Cohort ${text} saved`);
      });
    });
    const fetchCsv = () => guard(async () => {
      const text = await request("POST", "v1/query/cohort", { body: { ...base, select: "members" }, accept: "text/csv" });
      download(`${title.replace(/[^\w-]+/g, "_")}.csv`, "text/csv", text);
    });
    return [
      h("header", {}, h("h2", {}, title), h("button.icon", { type: "button", "aria-label": "Close", onclick: close }, "×")),
      status,
      h("div.drawer-actions", {},
        h("button", { type: "button", onclick: fetchCsv }, "Download CSV"),
        h("button", { type: "button", onclick: () => copy(JSON.stringify(base.cohort, null, 2), "Cohort") }, "Copy as JSON")),
      save, list, more,
    ];
  });
}

// An expression as a document has it: an object.
const stored = (cohort) => (typeof cohort === "string" ? { cohort } : cohort);

// What went wrong, where in the query, and what would help.
export function problemBox(error) {
  if (!(error instanceof Problem)) {
    console.error(error);
    return h("div.problem", { role: "alert" }, h("strong", {}, "The console met a bug"), h("p", {}, String(error.message || error)));
  }
  return h("div.problem", { role: "alert" },
    h("strong", {}, error.message),
    error.path ? h("p", {}, "at ", h("code", {}, error.path)) : null,
    error.hint ? h("p.hint", {}, error.hint) : null);
}
