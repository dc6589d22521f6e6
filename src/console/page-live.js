// Events as they arrive.

import { get, enc } from "./api.js";
import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { problemBox } from "./members.js";

const PAUSE = 1_500;
const SHOWN_MAX = 200;

export default {
  id: "live", title: "Live", question: "What is arriving right now?",
  show(main, { alive }) {
    const list = h("ul.live", { "aria-label": "Events, newest first" });
    const status = h("p.faint", { role: "status" }, "Connecting…");
    const pause = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
    const filter = h("input", { type: "search", placeholder: "Filter by event or user", "aria-label": "Filter" });
    const hint = h("div.empty", {}, h("p", {}, "Nothing has arrived since the server started."), h("p.faint", {}, "Send something:"),
      h("pre", {}, `curl ${new URL("v1/events", new URL(".", location.href))} -d '{"event": "hello", "user": "me"}'`));
    main.append(h("div.bar", {}, filter, pause, status), hint, list);
    let after;
    let paused = false;
    const matches = (row) => !filter.value || row.dataset.text.includes(filter.value.toLowerCase());
    filter.addEventListener("input", () => [...list.children].forEach((row) => row.toggleAttribute("hidden", !matches(row))));
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? "Go on" : "Pause";
      pause.setAttribute("aria-pressed", String(paused));
      if (!paused) poll();
    });
    async function poll() {
      if (!alive() || paused) return;
      try {
        const { arrivals, last } = await get(`v1/arrivals?limit=${SHOWN_MAX}${after === undefined ? "" : `&after=${after}`}`);
        if (!alive()) return;
        const begun = after === undefined;
        // A server that was started anew counts from the start.
        after = last;
        for (const arrival of arrivals) {
          const row = rowOf(arrival);
          row.toggleAttribute("hidden", !matches(row));
          if (!begun) row.classList.add("fresh");
          list.prepend(row);
        }
        while (list.children.length > SHOWN_MAX) list.lastElementChild.remove();
        hint.hidden = list.children.length > 0;
        fill(status, `${format.number(last)} since the server started`);
      } catch (error) {
        if (!alive()) return;
        fill(status, problemBox(error));
      }
      if (alive() && !paused) setTimeout(poll, PAUSE);
    }
    poll();
  },
};

function rowOf({ received, event }) {
  const { event: name, user, account, time, properties = {} } = event;
  return h("li", { "data-text": `${name} ${user} ${account ?? ""}`.toLowerCase() },
    h("time", { title: `happened ${time}` }, format.moment(received).split(", ")[1]),
    h("strong", {}, name), h("a", { href: `#/users?id=${enc(user)}` }, user),
    account ? h("a.faint", { href: `#/accounts?id=${enc(account)}` }, account) : h("span"),
    h("span.props", {}, propertyChips(properties)));
}

export function propertyChips(properties) {
  return Object.entries(properties).map(([name, value]) => h("span.prop", {}, h("i", {}, name), format.value(value)));
}
