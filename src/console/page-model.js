// The growth model: which events mean what in this product. Every part may be left out.

import { get, request } from "./api.js";
import { clean, field, numberInput, section, selectorPart, textInput, addButton } from "./build.js";
import { fill, h, toast } from "./dom.js";
import { problemBox } from "./members.js";
import { likely } from "./schema.js";

export default {
  id: "model", title: "Growth model", question: "Which events mean what in this product?",
  show(main, { alive }) {
    const box = h("div", {}, h("p.faint", {}, "Looking…"));
    main.append(h("p.note", {}, "Said once here, it is what activation, conversion, revenue, virality and the overview are asked with."), box);
    get("v1/growth-model").then((told) => alive() && edit(box, told.model ?? told), (error) => {
      if (!alive()) return;
      if (error.status === 404 && !/nothing at/.test(error.message)) edit(box, {});
      else fill(box, problemBox(error));
    });
  },
};

function edit(box, told) {
  let model = told;
  const status = h("div", { role: "status" });
  const put = (next) => {
    model = clean(next);
    draw();
  };
  const event = (name, label, guesses, wrap = (selector) => selector, read = (part) => part) => section(label, model[name] === undefined
    ? addButton("Choose an event", () => put({ ...model, [name]: wrap(likely(guesses), {}) }))
    : selectorPart({ label, value: read(model[name]), change: (selector) => put({ ...model, [name]: wrap(selector, model[name]) }), onremove: () => put({ ...model, [name]: undefined }) }));
  const wrapped = [(selector, part) => ({ ...part, event: selector }), (part) => part.event];
  const inPart = (name, label, key, placeholder) => (model[name] === undefined ? null : field(label, textInput(label, model[name][key], (text) => put({ ...model, [name]: clean({ ...model[name], [key]: text || undefined }) }), { placeholder })));
  const draw = () => fill(box, h("div.model", {},
    h("section.card", {}, h("h2", {}, "Beginning"), event("signup", "Signing up", ["signup", "sign_up", "user_signed_up"]),
      event("activate", "Activation: the first value", ["project_created", "activated"], ...wrapped), inPart("activate", "within", "within", "7d"),
      model.activate ? field("at least", numberInput("At least", model.activate.at_least ?? 1, (at_least) => put({ ...model, activate: clean({ ...model.activate, at_least: at_least === 1 ? undefined : at_least }) }))) : null,
      event("value", "Using it for what it is for", ["report_viewed"])),
    h("section.card", {}, h("h2", {}, "Inviting"), event("invite", "Inviting somebody", ["invite_sent"]), event("accept", "Accepting an invitation", ["invite_accepted"], (selector, part) => ({ inviter: "inviter_id", ...part, event: selector }), (part) => part.event), inPart("accept", "inviter's property", "inviter", "inviter_id")),
    h("section.card", {}, h("h2", {}, "Paying"), event("paid", "Beginning to pay", ["plan_upgraded", "purchase"], ...wrapped),
      event("subscription", "Change of recurring revenue", ["plan_upgraded"], (selector, part) => ({ mrr: "mrr", entity: "account", ...part, event: selector }), (part) => part.event), inPart("subscription", "property with the new MRR", "mrr", "mrr"), inPart("subscription", "whose", "entity", "account")),
    h("section.card", {}, h("h2", {}, "Features and limits"), event("feature", "Using a feature", ["feature_used"], (selector, part) => ({ property: "feature", ...part, event: selector }), (part) => part.event), inPart("feature", "feature's property", "property", "feature"),
      section("Limit", model.limit === undefined ? addButton("Choose a limit", () => put({ ...model, limit: { usage: { event: likely(["export_used"]), per: "month" }, allowance: { property: "export_limit", on: "account" } } }))
        : [selectorPart({ label: "Usage", value: model.limit.usage?.event, change: (selector) => put({ ...model, limit: { ...model.limit, usage: { ...model.limit.usage, event: selector } } }), onremove: () => put({ ...model, limit: undefined }) }),
          field("per", textInput("Per", model.limit.usage?.per, (per) => put({ ...model, limit: { ...model.limit, usage: { ...model.limit.usage, per } } }), { placeholder: "month" })),
          field("allowance", textInput("Property with the allowance", model.limit.allowance?.property, (property) => put({ ...model, limit: { ...model.limit, allowance: { ...model.limit.allowance, property } } })))]))),
  h("div.bar", {}, h("button.primary", { type: "button", onclick: save }, "Save the model"), status), h("details", {}, h("summary", {}, "As JSON"), h("pre", {}, JSON.stringify(model, null, 2))));
  async function save() {
    try {
      await request("PUT", "v1/growth-model", { body: model });
      fill(status);
      toast("The growth model is saved");
    } catch (error) {
      fill(status, problemBox(error));
    }
  }
  draw();
}
