// The first look: how many users there are, what they do, and whether they come back.

import { query, enc } from "./api.js";
import { color, legend, lines, spark } from "./charts.js";
import { fill, h } from "./dom.js";
import { firstEvent } from "./explore.js";
import * as format from "./format.js";
import { problemBox } from "./members.js";
import { choice } from "./build.js";
import { RANGES, resolve } from "./range.js";
import { likely, schema } from "./schema.js";

export default {
  id: "home", title: "Home", question: "The product at a glance",
  show(main, { params, go, alive }) {
    if (!schema.events.length) return main.append(firstEvent());
    const range = params.get("range") ?? "90d";
    const times = resolve(range, "day");
    main.querySelector(".head").append(choice("Range", RANGES, range, (next) => go("home", { range: next })));
    const tiles = h("div.tiles", {});
    const chart = h("div.chart", {});
    const top = h("div", {});
    const back = h("div", {});
    main.append(tiles, h("div.grid", {},
      h("section.card.wide", {}, h("h2", {}, h("a", { href: link("trends", { series: [{ event: "*", measure: "users" }], interval: "day" }, range) }, "Active users")), legend(ACTIVE), chart),
      h("section.card", {}, h("h2", {}, h("a", { href: "#/events" }, "Most frequent events")), top),
      h("section.card", {}, h("h2", {}, h("a", { href: link("retention", { birth: birth(), return: "*", interval: "week", periods: 8 }, range) }, "Who comes back")), back)));
    const guard = (element, work) => work().catch((error) => alive() && fill(element, problemBox(error)));
    guard(chart, async () => {
      const series = [{ event: "*", measure: "users", as: "active" }, { event: "*", measure: "first_time_users", as: "new" }, { event: "*", as: "events" }];
      const [daily, week] = await Promise.all([query("segmentation", { series, interval: "day", ...times }), query("segmentation", { series: series.slice(0, 1), interval: "day", rolling: "7d", ...times })]);
      if (!alive()) return;
      const of = (result, name) => result.data.filter((row) => row.series === name);
      const active = of(daily, "active");
      const sum = (rows) => rows.reduce((total, row) => total + row.value, 0);
      const weekly = of(week, "active").map((row) => row.value);
      const tile = (label, text, values, index) => h("div.tile", {}, h("span.faint", {}, label), h("strong", {}, text), spark(values, color(index)));
      fill(tiles,
        tile("Weekly active users", format.number(weekly[weekly.length - 1]), weekly, 0), tile("Active users a day", format.number(Math.round(sum(active) / Math.max(1, active.length))), active.map((row) => row.value), 1),
        tile("New users", format.number(sum(of(daily, "new"))), of(daily, "new").map((row) => row.value), 2), tile("Events", format.number(sum(of(daily, "events"))), of(daily, "events").map((row) => row.value), 3));
      lines(chart, { labels: active.map((row) => format.bucket(row.time)), series: [{ ...ACTIVE[0], values: weekly }, { ...ACTIVE[1], values: active.map((row) => row.value) }], label: "Active users", height: 260, incomplete: times.as_of ? 0 : 1 });
    });
    const most = schema.events[0].count;
    fill(top, h("ul.bars", {}, schema.events.slice(0, 9).map((event) => h("li", {}, h("a", { href: link("trends", { series: [{ event: event.event }], interval: "day" }, range) }, event.event), h("span.track", {}, h("i", { style: { width: `${(event.count / most) * 100}%` } })), h("span.number", {}, format.compact(event.count))))));
    guard(back, async () => {
      const weekTimes = resolve(range, "week");
      const result = await query("retention", { birth: birth(), return: "*", interval: "week", periods: 8, summary: true, ...weekTimes });
      if (!alive()) return;
      const inner = h("div.chart", {});
      fill(back, inner);
      lines(inner, { labels: result.data.map((row) => `week ${row.period}`), series: [{ name: "were back", color: color(2), values: result.data.map((row) => row.rate) }], write: format.percentTick, full: format.percent, area: true, height: 220, label: `Retention after ${birth()}` });
    });
  },
};

// The lines of the first chart, in the colours of their tiles.
const ACTIVE = [{ name: "Users of 7 days", color: color(0) }, { name: "Users a day", color: color(1) }];

const birth = () => likely(["signup", "sign_up", "user_signed_up"]);
const link = (view, q, range) => `#/${view}?range=${range}&q=${enc(JSON.stringify(q))}`;
