// Growth, named: revenue, activation, conversion, drivers, leads, limits, virality. They take what events mean from the
// growth model, unless the query says so itself.

import { addButton, breakdownPart, clean, entityPart, field, numberInput, section, select, selectorEvents, selectorPart, textInput, toggle, wherePart } from "./build.js";
import { color, legend, lines, spark, stacks, tone } from "./charts.js";
import { h } from "./dom.js";
import * as format from "./format.js";
import { likely } from "./schema.js";
import { resultTable, splitNames, writer } from "./table.js";
import { splitOf } from "./view-funnel.js";

const MONTHS = ["day", "week", "month", "quarter", "year"];
const modelLink = () => h("p.note", {}, "What is left out here comes from the ", h("a", { href: "#/model" }, "growth model"), ".");
// Currencies are never added: each has rows of its own.
const bookOf = (row) => [format.rowName(row), "currency" in row ? format.value(row.currency) : ""].filter(Boolean).join(" · ");
const optionalEvent = (q, change, name, label) => section(label, q[name] === undefined
  ? addButton("Other than the model's", () => change({ ...q, [name]: likely([name]) }))
  : selectorPart({ label, value: q[name], change: (event) => change({ ...q, [name]: event }), onremove: () => change(clean({ ...q, [name]: undefined })) }));

function labelsOf(rows, interval) {
  const times = [...new Set(rows.map((row) => row.time))];
  return { times, labels: times.map((time) => format.bucket(time, interval)) };
}

// One line for each column, or for each row name if there is a split.
function columnLines(element, result, { interval, columns, write, openBuckets, names = {} }) {
  const { times, labels } = labelsOf(result.data, interval);
  const splits = [...new Set(result.data.map((row) => bookOf(row)))];
  const series = columns.flatMap((column) => splits.map((split) => ({ column, split }))).map(({ column, split }, index) => {
    const rows = new Map(result.data.filter((row) => (bookOf(row)) === split).map((row) => [row.time, row]));
    return { name: [names[column] ?? column.replaceAll("_", " "), split].filter(Boolean).join(" · "), color: color(index), values: times.map((time) => rows.get(time)?.[column] ?? null) };
  });
  const chart = h("div.chart", {});
  element.append(legend(series) ?? "", chart);
  lines(chart, { labels, series, write: write === format.percent ? format.percentTick : write, full: write, area: true, incomplete: openBuckets(times), label: columns.join(", ") });
}


const plainBuild = (extra = () => [], { lasting = true } = {}) => function build(q, change, context) {
  const events = this.events(q);
  return [extra(q, change, context), wherePart({ query: q, change, events }), breakdownPart({ query: q, change, events, lasting }), section("Options", entityPart(q, (next) => change(clean(next)))), modelLink()];
};

const MOVES = ["starting", "new", "expansion", "contraction", "churn", "reactivation", "ending", "customers"];

export const revenue = {
  id: "revenue", kind: "revenue", title: "Revenue", question: "Where did recurring revenue come from, and where did it go?", intervals: MONTHS, range: "12mo",
  tabs: [["moves", "Movements"], ["bridge", "Bridge"], ["rates", "Retention of revenue"]],
  start: () => ({ interval: "month", entity: "account" }),
  body: (q) => q,
  events: () => [],
  build: plainBuild((q, change) => [section("Rules", field("Currency", textInput("Property of the currency", q.currency, (currency) => change(clean({ ...q, currency: currency || undefined })), { placeholder: "property" })),
    field("Compare", select("Compare with", [["", "the interval before"], ["3mo", "3 months before"], ["12mo", "12 months before"]], q.trailing ?? "", (trailing) => change(clean({ ...q, trailing: trailing || undefined })))))]),
  draw(element, result, { q, tab, pick, openBuckets }) {
    const interval = q.interval;
    // Sums of money have customers behind them, but not as many.
    const open = (row, state) => row[state] && pick({ time: row.time, state, ...splitOf(row) }, `${state === "customers" ? "customers" : `${state} revenue`}, ${format.bucket(row.time, interval)}`, state === "customers" ? row[state] : undefined);
    const table = () => resultTable(result, { names: splitNames(q), interval, cell: (row, column) => (MOVES.includes(column) ? { row, column } : null), onpick: ({ row, column }) => open(row, column) });
    if (tab === "rates") {
      columnLines(element, result, { interval, columns: ["nrr", "grr"], write: format.percent, openBuckets, names: { nrr: "net revenue retention", grr: "gross revenue retention" } });
      return element.append(table());
    }
    const splits = [...new Set(result.data.map((row) => bookOf(row)))];
    const moves = [["new", "var(--new)", 1], ["expansion", "var(--retained)", 1], ["reactivation", "var(--resurrected)", 1], ["contraction", "var(--contraction)", -1], ["churn", "var(--churned)", -1]];
    element.append(legend(moves.map(([name, paint]) => ({ name, color: paint }))));
    for (const split of splits) {
      const rows = result.data.filter((row) => (bookOf(row)) === split);
      const chart = h("div.chart", {});
      element.append(split ? h("h3.split-name", {}, split) : "", chart);
      if (tab === "bridge") bridge(chart, rows, moves);
      else stacks(chart, { labels: rows.map((row) => format.bucket(row.time, interval)), layers: moves.map(([name, paint, sign]) => ({ name, color: paint, values: rows.map((row) => sign * (row[name] ?? 0)) })), incomplete: openBuckets(rows.map((row) => row.time)), label: "Movements of revenue", onpick: (layer, at) => open(rows[at], moves[layer][0]) });
    }
    element.append(table());
  },
};

// From what there was at the start of the range to what there is at its end.
function bridge(chart, rows, moves) {
  const sum = (name) => rows.reduce((total, row) => total + Number(row[name] ?? 0), 0);
  const start = Number(rows[0]?.starting ?? 0);
  let level = start;
  const steps = [["start", "var(--faint)", 0, start]];
  for (const [name, paint, sign] of moves) {
    const next = level + sign * sum(name);
    steps.push([name, paint, Math.min(level, next), Math.abs(next - level)]);
    level = next;
  }
  steps.push(["end", "var(--c1)", 0, Number(rows[rows.length - 1]?.ending ?? 0)]);
  stacks(chart, {
    labels: steps.map(([name]) => name),
    layers: [{ name: "", color: "transparent", values: steps.map(([, , base]) => base) }, ...steps.map(([name, paint, , size], index) => ({ name, color: paint, values: steps.map((_, at) => (at === index ? size : 0)) }))],
    label: "Revenue from start to end",
  });
}

export const activation = {
  id: "activation", kind: "activation", title: "Activation", question: "How many new users find the value, and how soon?", intervals: MONTHS, range: "90d",
  tabs: [["rate", "By sign-up"], ["curve", "Over their first days"]],
  start: () => ({ interval: "week" }),
  body: (q, tab) => (tab === "curve" ? { ...q, curve: true } : q),
  events: (q) => selectorEvents(q.signup ?? "*"),
  build: plainBuild((q, change) => [optionalEvent(q, change, "signup", "Sign-up")], { lasting: false }),
  draw(element, result, { q, tab, pick, openBuckets }) {
    if (tab === "curve") {
      const names = [...new Set(result.data.map(format.rowName))];
      const days = [...new Set(result.data.map((row) => row.day))];
      const series = names.map((name, index) => ({ name: name || "activated by then", color: color(index), values: days.map((day) => result.data.find((row) => row.day === day && format.rowName(row) === name)?.share ?? null) }));
      const chart = h("div.chart", {});
      element.append(legend(series) ?? "", chart, resultTable(result));
      return lines(chart, { labels: days.map((day) => `day ${day}`), series, write: format.percentTick, full: format.percent, area: true, label: "Share activated by day" });
    }
    columnLines(element, result, { interval: q.interval, columns: ["rate"], write: format.percent, openBuckets: () => trailing(result.data), names: { rate: "activated" } });
    element.append(resultTable(result, { names: splitNames(q), interval: q.interval, ...openers(pick, ["signups", "activated", "in_progress"], q.interval) }));
  },
};

// How many of the last rows are not complete.
function trailing(rows) {
  let count = 0;
  for (let at = rows.length - 1; at >= 0 && rows[at].complete === false; at--) count++;
  return count;
}

function openers(pick, columns, interval) {
  return {
    cell: (row, column) => (columns.includes(column) ? { row, column } : null),
    onpick: ({ row, column }) => pick({ ...splitOf(row), time: row.time, state: column }, `${column.replaceAll("_", " ")}, ${[format.rowName(row), format.bucket(row.time, interval)].filter(Boolean).join(", ")}`, row[column]),
  };
}

export const conversion = {
  id: "conversion", kind: "conversion", title: "Conversion", question: "How many go from free to paid?", intervals: MONTHS, range: "12mo",
  start: () => ({ interval: "month", entity: "account", within: "60d" }),
  body: (q) => q,
  events: (q) => selectorEvents(q.signup ?? "*"),
  build: plainBuild((q, change) => [optionalEvent(q, change, "signup", "Sign-up"), optionalEvent(q, change, "paid", "Paid"), section("Rules", field("Within", textInput("Within", q.within, (within) => change(clean({ ...q, within: within || undefined })), { placeholder: "ever", size: "6" })))], { lasting: false }),
  draw(element, result, { q, pick }) {
    columnLines(element, result, { interval: q.interval, columns: ["rate"], write: format.percent, openBuckets: () => trailing(result.data), names: { rate: "converted" } });
    element.append(resultTable(result, { names: splitNames(q), interval: q.interval, ...openers(pick, ["signups", "converted", "in_progress"], q.interval) }));
  },
};

export const drivers = {
  id: "drivers", kind: "drivers", title: "Drivers", question: "Which early behaviour goes with staying?", range: "26w",
  start: () => ({ birth: likely(["signup", "sign_up"]), window: "7d", outcome: { did: likely(["report_viewed", "project_created"]), after: "21d", before: "28d" } }),
  body: (q) => q,
  events: (q) => selectorEvents(q.birth),
  build(q, change) {
    const { outcome } = q;
    return [
      section("Begins with", selectorPart({ label: "Birth event", value: q.birth, change: (birth) => change({ ...q, birth }) })),
      section("Early", field("In the first", textInput("Window", q.window, (window) => change({ ...q, window }), { size: "6" }))),
      section("Outcome", outcome?.did ? [selectorPart({ label: "Outcome event", value: outcome.did, change: (did) => change({ ...q, outcome: { ...outcome, did } }) }),
        field("After", textInput("After", outcome.after, (after) => change({ ...q, outcome: { ...outcome, after } }), { size: "6" })), field("Before", textInput("Before", outcome.before, (before) => change({ ...q, outcome: { ...outcome, before } }), { size: "6" }))] : h("code.chip", {}, JSON.stringify(outcome))),
      wherePart({ query: q, change, events: this.events(q) }), section("Options", entityPart(q, (next) => change(clean(next)))),
      h("p.note", {}, "Behaviour that goes with an outcome need not cause it. Try it, before you build on it."),
    ];
  },
  draw(element, result, { pick }) {
    const open = (row, state) => pick({ ...splitOf(row), event: row.event, at_least: row.at_least, state }, `${row.event}, ${state === "did" ? "" : "not "}${row.at_least}× or more`, state === "did" ? row.users : undefined);
    const best = new Map();
    for (const row of result.data) if (!best.has(row.event)) best.set(row.event, row);
    const top = [...best.values()].filter((row) => row.phi !== null).slice(0, 12);
    element.append(h("ol.drivers", {}, top.map((row) => h("li", {},
      h("div.bar", {}, h("strong", {}, row.event), h("span.faint", {}, `${row.at_least}× or more`), h("span.grow"), h("span", {}, `φ ${format.number(row.phi)}`), h("span.faint", {}, `lift ${format.number(row.lift)}`)),
      h("div.versus", {}, h("i", { style: { width: `${row.rate_did * 100}%`, background: "var(--c1)" } }), h("button.number", { type: "button", onclick: () => open(row, "did") }, `${format.percent(row.rate_did)} of those who did`)),
      h("div.versus", {}, h("i", { style: { width: `${(row.rate_did_not ?? 0) * 100}%`, background: "var(--faint)" } }), h("button.number", { type: "button", onclick: () => open(row, "did_not") }, `${format.percent(row.rate_did_not)} of those who did not`))))),
    h("h3.split-name", {}, "All thresholds"), resultTable(result, { cell: (row, column) => (column === "users" ? row : null), onpick: (row) => open(row, "did") }));
  },
};

export const pql = {
  id: "pql", kind: "pql", title: "Leads", question: "Who is ready to talk to sales?",
  start: () => ({ entity: "account", threshold: 0.5, signals: [
    { name: "volume", weight: 2, scale: [0, 200], volume: { event: "*", window: "30d" } },
    { name: "velocity", weight: 1, scale: [0.5, 2], velocity: { event: "*", window: "7d" } },
    { name: "active_users", weight: 2, scale: [1, 10], breadth: { of: "users", window: "30d" } }] }),
  // It looks back from one moment, and has no range.
  body: ({ from, to, ...q }) => q,
  hasNoRange: true,
  events: () => [],
  build(q, change) {
    const put = (signals) => change({ ...q, signals });
    return [
      section("Score", field("Threshold", numberInput("Threshold", q.threshold, (threshold) => change({ ...q, threshold }), { min: 0 })), toggle("Since when", q.qualified_at, (qualified_at) => change(clean({ ...q, qualified_at }))), entityPart(q, (next) => change(clean(next)))),
      section("Signals", q.signals.map((signal, index) => h("div.selector", {},
        h("div.condition", {}, textInput("Name", signal.name, (name) => put(q.signals.map((old, at) => (at === index ? { ...old, name } : old)))), h("span.faint", {}, "×"), numberInput("Weight", signal.weight, (weight) => put(q.signals.map((old, at) => (at === index ? { ...old, weight } : old))), { min: 0 }), h("button.icon", { type: "button", "aria-label": "Remove", onclick: () => put(q.signals.filter((_, at) => at !== index)) }, "×")),
        h("code.chip", {}, JSON.stringify(clean({ ...signal, name: undefined, weight: undefined }))))),
      addButton("Signal", () => put([...q.signals, { name: `signal_${q.signals.length + 1}`, weight: 1, scale: [0, 50], volume: { event: likely([]), window: "30d" } }]))),
      h("p.note", {}, "Other signals are written as JSON, under “Query”."),
    ];
  },
  draw(element, result, { q, pick }) {
    const entity = q.entity ?? "user";
    const qualified = result.data.filter((row) => row.qualified).length;
    const rows = result.data.slice(0, 200);
    const signals = q.signals.map((signal) => signal.name);
    element.append(h("p.faint", {}, h("button.number", { type: "button", onclick: () => pick({ qualified: true }, "qualified", qualified) }, format.number(qualified)), ` of ${format.number(result.data.length)} qualify`),
      h("div.table-box", {}, h("table.data", {}, h("thead", {}, h("tr", {}, [entity, "score", ...signals, "qualified"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows.map((row) => h("tr", {}, h("td", {}, h("a", { href: `#/${entity}s?id=${encodeURIComponent(row[entity])}` }, row[entity])),
          h("td", {}, h("div.score", {}, h("i", { style: { width: `${(row.score ?? 0) * 100}%` }, class: row.qualified ? "on" : "" }), h("span", {}, format.number(row.score)))),
          signals.map((name) => h("td.number", {}, format.number(row[name]))), h("td", {}, row.qualified ? "yes" : "")))))));
  },
};

export const limits = {
  id: "limits", kind: "limits", title: "Limits", question: "Who runs into what the plan allows, and who then buys?", intervals: MONTHS, range: "90d",
  tabs: [["now", "Now"], ["outcome", "Outcome"]],
  start: () => ({ entity: "account", interval: "month" }),
  body: (q, tab) => {
    const { interval, ...rest } = q;
    return tab === "outcome" ? { ...q, outcome: true } : rest;
  },
  events: () => [],
  build: plainBuild(() => []),
  draw(element, result, { q, tab, pick, openBuckets }) {
    if (tab === "outcome") {
      columnLines(element, result, { interval: q.interval, columns: ["rate"], write: format.percent, openBuckets, names: { rate: "bought after reaching the limit" } });
      return element.append(resultTable(result, { names: splitNames(q), interval: q.interval, ...openers(pick, ["reached", "upgraded"], q.interval) }));
    }
    const entity = q.entity ?? "user";
    const count = (status) => result.data.filter((row) => row.status === status).length;
    element.append(h("div.tiles", {}, [["over", "var(--churned)"], ["near", "var(--contraction)"], ["ok", "var(--new)"]].map(([status, paint]) => h("div.tile", {}, h("span.faint", {}, status), h("button.number", { type: "button", style: { color: paint }, onclick: () => pick({ status }, status, count(status)) }, format.number(count(status)))))),
      h("div.table-box", {}, h("table.data", {}, h("thead", {}, h("tr", {}, [entity, "used", "allowance", "share", "reached at", "upgraded at"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, result.data.slice(0, 200).map((row) => h("tr", {}, h("td", {}, h("a", { href: `#/${entity}s?id=${encodeURIComponent(row[entity])}` }, row[entity])), h("td.number", {}, format.number(row.used)), h("td.number", {}, format.number(row.allowance)),
          h("td", {}, h("div.score", {}, h("i", { class: row.status === "ok" ? "" : "on", style: { width: `${Math.min(1, row.share ?? 1) * 100}%`, background: row.status === "over" ? "var(--churned)" : row.status === "near" ? "var(--contraction)" : "var(--new)" } }), h("span", {}, format.percent(row.share)))),
          h("td", {}, format.moment(row.reached_at)), h("td", {}, format.moment(row.upgraded_at))))))));
  },
};

export const virality = {
  id: "virality", kind: "virality", title: "Virality", question: "How many users does a user bring?", intervals: MONTHS, range: "12mo",
  tabs: [["k", "K-factor"], ["users", "Invited and organic"], ["tree", "Generations"]],
  start: () => ({ interval: "month" }),
  body: (q, tab) => {
    if (tab !== "tree") return q;
    const { interval, ...rest } = q;
    return { ...rest, tree: true };
  },
  events: () => [],
  build: plainBuild((q, change) => [section("Rules", toggle("By the inviter's sign-up", q.by === "signup", (by) => change(clean({ ...q, by: by ? "signup" : undefined }))))]),
  draw(element, result, { q, tab, pick, openBuckets }) {
    if (tab === "tree") {
      const chart = h("div.chart", {});
      const open = (row) => row.users && pick({ generation: row.generation, ...splitOf(row) }, `generation ${row.generation}`, row.users);
      element.append(chart, resultTable(result, { names: splitNames(q), cell: (row, column) => (column === "users" ? row : null), onpick: open }));
      return stacks(chart, { onpick: (_, at) => open(result.data[at]), labels: result.data.map((row) => `generation ${row.generation}`), layers: [{ name: "users", color: "var(--c1)", values: result.data.map((row) => row.users) }], label: "Users by generation" });
    }
    if (tab === "users" && !format.rowName(result.data[0] ?? {})) {
      const chart = h("div.chart", {});
      element.append(legend([{ name: "organic", color: "var(--c1)" }, { name: "invited", color: "var(--c2)" }]), chart);
      stacks(chart, { labels: result.data.map((row) => format.bucket(row.time, q.interval)), layers: [{ name: "organic", color: "var(--c1)", values: result.data.map((row) => row.organic_users) }, { name: "invited", color: "var(--c2)", values: result.data.map((row) => row.invited_users) }], incomplete: openBuckets(result.data.map((row) => row.time)), label: "New users, organic and invited" });
    } else columnLines(element, result, { interval: q.interval, columns: ["k_factor"], write: format.number, openBuckets, names: { k_factor: "k-factor" } });
    element.append(resultTable(result, { names: splitNames(q), interval: q.interval, ...openers(pick, ["new_users", "invited_users", "organic_users", "active_users", "inviters"], q.interval) }));
  },
};

const TILES = ["new_users", "active_users", "activation_rate", "retention_rate", "conversion_rate", "k_factor", "mrr", "nrr", "customers", "activated", "retained_users", "inviters"];

export const overview = {
  id: "overview", kind: "overview", title: "Overview", question: "How does growth go, from the first visit to revenue?", intervals: MONTHS, range: "12mo",
  tabs: [["tiles", "Numbers"], ["transitions", "Transitions"]],
  start: () => ({ interval: "month" }),
  body: (q, tab) => (tab === "transitions" ? { ...q, transitions: true } : q),
  events: () => [],
  build: plainBuild(() => []),
  draw(element, result, { q, tab, pick }) {
    if (tab === "transitions") return drawTransitions(element, result, { q, pick });
    const splits = [...new Set(result.data.map(format.rowName))];
    for (const split of splits) {
      const rows = result.data.filter((row) => format.rowName(row) === split);
      const [last, before] = [rows[rows.length - 1] ?? {}, rows[rows.length - 2] ?? {}];
      const shown = TILES.filter((name) => result.meta.some((column) => column.name === name));
      element.append(split ? h("h3.split-name", {}, split) : "", h("div.tiles", {}, shown.map((name, index) => h("div.tile", {},
        h("span.faint", {}, name === "mrr" ? "MRR" : name === "nrr" ? "NRR" : name === "k_factor" ? "K-factor" : name.replaceAll("_", " ")), h("strong", {}, writer(name)(last[name])), change(last[name], before[name], name), sparkOf(rows, name, index)))));
    }
    const isMixed = result.data.some((row) => row.mrr === null);
    element.append(h("p.note", {}, `The last ${q.interval}, beside the one before.`, isMixed ? " Money of several currencies is not added: Revenue tells each." : ""), resultTable(result, { names: splitNames(q), interval: q.interval, ...openers(pick, ["new_users", "activated", "active_users", "retained_users", "inviters", ...(q.entity === "account" ? ["customers"] : [])], q.interval) }));
  },
};

const sparkOf = (rows, name, index) => spark(rows.map((row) => row[name]), color(index));

function change(now, before, name) {
  if (now === null || now === undefined || !before) return h("small.faint", {}, " ");
  const shares = writer(name) === format.percent;
  const difference = shares ? (now - before) * 100 : (now / before - 1) * 100;
  const text = `${difference >= 0 ? "+" : "−"}${Math.abs(difference).toFixed(1)}${shares ? " points" : " %"}`;
  return h("small", { class: difference >= 0 ? "up" : "down" }, text);
}

function drawTransitions(element, result, { q, pick }) {
  const order = ["paying", "referring", "activated", "retained", "new", "resurrected", "churned", "absent"];
  const times = [...new Set(result.data.map((row) => row.time))];
  const latest = times[times.length - 1];
  const rows = result.data.filter((row) => row.time === latest);
  const most = Math.max(...rows.map((row) => row.users), 1);
  const from = order.filter((state) => rows.some((row) => row.from_state === state));
  const to = order.filter((state) => rows.some((row) => row.to_state === state));
  element.append(h("p.faint", {}, `From the state in the ${q.interval} before (rows) to that in ${format.bucket(latest, q.interval)} (columns).`),
    h("div.table-box", {}, h("table.triangle", {}, h("thead", {}, h("tr", {}, h("th", {}, ""), to.map((state) => h("th", { scope: "col" }, state)))),
      h("tbody", {}, from.map((source) => h("tr", {}, h("th", { scope: "row" }, source), to.map((target) => {
        const row = rows.find((each) => each.from_state === source && each.to_state === target);
        if (!row) return h("td");
        const heat = Math.round(Math.sqrt(row.users / most) * 85);
        return h("td.heat", { style: { "--heat": `${heat}%` }, class: tone(heat) }, h("button", { type: "button", onclick: () => pick({ time: row.time, from_state: source, to_state: target, ...splitOf(row) }, `${source} → ${target}`, row.users) }, format.compact(row.users)));
      })))))), h("details", {}, h("summary", {}, "As a table"), resultTable(result, { names: splitNames(q), interval: q.interval })));
}
