// Paths as streams: a column of nodes for each step, a ribbon for each move.

import { h, s, fill } from "./dom.js";
import * as format from "./format.js";
import { color } from "./charts.js";

const NODE = 10;
const GAP = 10;
const TOP = 30;

// rows: of the query `paths`. `backwards`: steps are counted from the end. `weight`: users or events.
export function sankey(element, { rows, backwards, weight, onpick }) {
  const observer = new ResizeObserver(() => (element.isConnected ? draw(element, element.clientWidth, { rows, backwards, weight, onpick }) : observer.disconnect()));
  observer.observe(element);
}

// Colours stay with an event wherever it stands.
function palette(rows) {
  const totals = new Map();
  for (const row of rows) for (const name of [row.source, row.target]) totals.set(name, (totals.get(name) ?? 0) + row.users);
  const named = [...totals].filter(([name]) => !name.startsWith("$")).sort((a, b) => b[1] - a[1]);
  const colors = new Map(named.map(([name], index) => [name, color(index)]));
  return (name) => colors.get(name) ?? "var(--faint)";
}

function draw(element, width, { rows, backwards, weight, onpick }) {
  const drawn = element.dataset.width;
  if (drawn && Math.abs(drawn - width) < 2) return;
  element.dataset.width = width;
  const last = Math.max(...rows.map((row) => row.step));
  const columnOf = (row) => (backwards ? last - row.step : row.step - 1);
  const nodes = new Map();
  const node = (column, name) => {
    const id = `${column} ${name}`;
    if (!nodes.has(id)) nodes.set(id, { column, name, in: 0, out: 0, entered: 0, left: 0 });
    return nodes.get(id);
  };
  const links = rows.map((row) => {
    const link = { row, value: row[weight], source: node(columnOf(row), row.source), target: node(columnOf(row) + 1, row.target) };
    link.source.out += link.value;
    link.target.in += link.value;
    return link;
  });
  const columns = Array.from({ length: last + 1 }, () => []);
  for (const each of nodes.values()) {
    each.value = Math.max(each.in, each.out);
    columns[each.column].push(each);
  }
  const rank = (each) => (each.name === "$end" ? 2 : each.name === "$other" ? 1 : 0);
  for (const column of columns) column.sort((a, b) => rank(a) - rank(b) || b.value - a.value || (a.name < b.name ? -1 : 1));
  const most = Math.max(...columns.map((column) => column.length));
  const height = Math.max(340, TOP + most * 34);
  const room = (column) => height - TOP - 16 - GAP * (column.length - 1);
  const unit = Math.min(...columns.filter((c) => c.length).map((column) => room(column) / Math.max(1, column.reduce((sum, each) => sum + each.value, 0))));
  const labels = 130;
  const least = 118;
  const full = Math.max(width, last * least + labels);
  const step = (full - labels - NODE) / Math.max(1, last);
  for (const column of columns) {
    let y = TOP;
    for (const each of column) {
      each.x = 2 + each.column * step;
      each.y = y;
      each.height = Math.max(2, each.value * unit);
      y += Math.max(each.height, 16) + GAP;
    }
  }
  const bottom = Math.max(height, ...[...nodes.values()].map((each) => each.y + each.height + 12));
  const paint = palette(rows);
  links.sort((a, b) => a.source.y - b.source.y || a.target.y - b.target.y);
  for (const link of links) {
    link.from = link.source.y + link.source.left;
    link.source.left += link.value * unit;
  }
  for (const link of [...links].sort((a, b) => a.target.y - b.target.y || a.source.y - b.source.y)) {
    link.to = link.target.y + link.target.entered;
    link.target.entered += link.value * unit;
  }
  const ribbons = links.map((link) => {
    const thick = Math.max(1, link.value * unit);
    const [x0, x1] = [link.source.x + NODE, link.target.x];
    const [y0, y1] = [link.from + thick / 2, link.to + thick / 2];
    const middle = (x0 + x1) / 2;
    const said = `${format.value(link.row.source)} → ${format.value(link.row.target)}: ${format.number(link.row.users)} users, ${format.number(link.row.events)} times` + (link.row.median_seconds === null ? "" : `, median ${format.duration(link.row.median_seconds)}`);
    const path = s("path.ribbon", { d: `M${x0},${y0}C${middle},${y0} ${middle},${y1} ${x1},${y1}`, stroke: paint(link.row.source), "stroke-width": thick, tabindex: "0", role: "button", "aria-label": said }, s("title", {}, said));
    path.addEventListener("click", () => onpick(link.row));
    path.addEventListener("keydown", (event) => event.key === "Enter" && onpick(link.row));
    return path;
  });
  const boxes = [...nodes.values()].map((each) => s("g", {},
    s("rect", { x: each.x, y: each.y, width: NODE, height: each.height, rx: 2, fill: paint(each.name) }),
    s("text.node", { x: each.x + NODE + 6, y: each.y + Math.min(each.height / 2, 30) + 4 }, clip(format.value(each.name), Math.floor((each.column === last ? labels : step) / 6.8) - 5), s("tspan.faint", { dx: 6 }, format.compact(each.value)))));
  const heads = columns.map((_, index) => s("text.tick", { x: 2 + index * step, y: 14 }, backwards ? (index === last ? "End" : `${last - index} before`) : index === 0 ? "Start" : `Step ${index}`));
  fill(element, h("div.scroll-x", {}, s("svg.sankey", { width: full, height: bottom, viewBox: `0 0 ${full} ${bottom}`, role: "group", "aria-label": `Paths of ${last} moves` }, heads, ribbons, boxes)));
}

function clip(text, length) {
  return text.length > Math.max(6, length) ? `${text.slice(0, Math.max(5, length - 1))}…` : text;
}
