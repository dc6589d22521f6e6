// Drawings over time and over ranks: lines, stacked bars, small lines. All in SVG, drawn to the width there is.

import { h, s, fill } from "./dom.js";
import * as format from "./format.js";

const MARGIN = { top: 14, right: 16, bottom: 28, left: 52 };

// The names of the colours are those of the style sheet, so that light and dark have their own.
export const color = (index) => `var(--c${(index % 10) + 1})`;
// Which ink can be read on a cell of so much color, in percent. Where the page is dark, it turns earlier.
export const tone = (heat) => (heat > 80 ? "strong" : heat > 65 ? "firm" : "");

// Draws now and whenever the width changes.
function responsive(element, draw) {
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (!element.isConnected) return observer.disconnect();
    const now = Math.floor(element.clientWidth);
    if (now && Math.abs(now - width) > 1) {
      width = now;
      draw(width);
    }
  });
  observer.observe(element);
}

// Round numbers from low to high, about `count` of them.
export function ticks(low, high, count = 5) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((size) => size >= rough);
  const list = [];
  for (let at = Math.floor(low / step) * step; at < high + step * 0.999; at += step) list.push(Number(at.toPrecision(12)));
  return list;
}

function scale(values, height) {
  const list = ticks(Math.min(0, ...values), Math.max(...values, 0) || 1);
  const [low, high] = [list[0], list[list.length - 1]];
  return { list, y: (value) => MARGIN.top + (1 - (value - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom), low };
}

function yAxis(scaled, width, write) {
  return scaled.list.map((tick) => s("g", {},
    s("line", { class: tick === 0 ? "axis" : "gridline", x1: MARGIN.left, x2: width - MARGIN.right, y1: scaled.y(tick), y2: scaled.y(tick) }),
    s("text.tick.end", { x: MARGIN.left - 8, y: scaled.y(tick) + 4 }, write(tick))));
}

function xAxis(labels, x, width, height) {
  const longest = Math.max(...labels.map((label) => String(label).length), 1);
  const fits = Math.max(1, Math.floor((width - MARGIN.left - MARGIN.right) / (longest * 6.6 + 22)));
  const every = Math.max(1, Math.ceil(labels.length / fits));
  return labels.map((label, index) => {
    if (index % every) return null;
    // A label at the right edge ends there.
    const atEdge = x(index) + String(label).length * 3.2 > width;
    return s(atEdge ? "text.tick.end" : "text.tick.middle", { x: atEdge ? width - 2 : x(index), y: height - 8 }, label);
  });
}

// A box that says what is under the pointer.
function tooltip(element) {
  const box = h("div.tooltip", { "aria-hidden": "true" });
  element.append(box);
  return {
    show(x, width, title, lines) {
      fill(box, h("strong", {}, title), lines.map(({ color, name, text, dim }) => h("div", { class: dim ? "dim" : "" }, color ? h("i", { style: { background: color } }) : null, h("span", {}, name), h("b", {}, text))));
      box.classList.add("shown");
      const left = x + 14 + box.offsetWidth > width ? x - 14 - box.offsetWidth : x + 14;
      box.style.left = `${Math.max(0, left)}px`;
    },
    hide: () => box.classList.remove("shown"),
  };
}

// Lets the pointer and the arrow keys walk over positions.
function walk(svg, count, nearest, show, hide, pick) {
  let at = null;
  const go = (index) => {
    at = Math.max(0, Math.min(count - 1, index));
    show(at);
  };
  svg.addEventListener("pointermove", (event) => go(nearest(event.clientX - svg.getBoundingClientRect().left)));
  svg.addEventListener("pointerleave", () => hide());
  svg.addEventListener("blur", () => hide());
  svg.addEventListener("click", (event) => pick && at !== null && pick(at, event.clientY - svg.getBoundingClientRect().top));
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.key in steps) go((at ?? (steps[event.key] > 0 ? -1 : count)) + steps[event.key]);
    else if (event.key === "Enter" && pick && at !== null) pick(at, null);
    else return;
    event.preventDefault();
  });
}

// series: [{name, color, values, dashed}]. onpick(series index, position) opens what a point counts.
export function lines(element, { labels, series, write = format.compact, full = format.number, height = 320, onpick, incomplete, label, area }) {
  responsive(element, (width) => {
    const known = series.flatMap((line) => line.values).filter((value) => value !== null && value !== undefined);
    const scaled = scale(known.length ? known : [0, 1], height);
    const inner = width - MARGIN.left - MARGIN.right;
    const x = (index) => MARGIN.left + (labels.length < 2 ? inner / 2 : (index / (labels.length - 1)) * inner);
    const cursor = s("line.cursor", { y1: MARGIN.top, y2: height - MARGIN.bottom });
    const dots = s("g", {});
    const drawn = series.map((line) => {
      const open = incomplete ? labels.length - incomplete : labels.length;
      const solid = pathOf(line.values.slice(0, open), x, scaled.y);
      const rest = open < labels.length ? pathOf(line.values, x, scaled.y, Math.max(0, open - 1)) : "";
      const shade = area && series.length === 1 && solid ? s("path.area", { d: areaOf(line.values, x, scaled.y, scaled.y(0)), fill: line.color }) : null;
      const single = line.values.map((value, index) => (value !== null && value !== undefined && labels.length < 2 ? s("circle", { cx: x(index), cy: scaled.y(value), r: 4, fill: line.color }) : null));
      return [shade, s("path", { class: line.dashed ? "line dashed" : "line", d: solid, stroke: line.color }), rest ? s("path.line.dashed", { d: rest, stroke: line.color }) : null, single];
    });
    const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: "0", role: "img", "aria-label": label, class: onpick ? "pickable" : "" },
      yAxis(scaled, width, write), xAxis(labels, x, width, height), cursor, drawn, dots);
    fill(element, svg);
    const tip = tooltip(element);
    const show = (index) => {
      cursor.setAttribute("x1", x(index));
      cursor.setAttribute("x2", x(index));
      cursor.classList.add("shown");
      const here = series.map((line, at) => ({ at, line, value: line.values[index] })).filter(({ value }) => value !== undefined);
      fill(dots, here.filter(({ value }) => value !== null).map(({ line, value }) => s("circle", { cx: x(index), cy: scaled.y(value), r: 4, fill: line.color, class: "dot" })));
      const sorted = here.sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity)).slice(0, 12);
      tip.show(x(index), width, labels[index], sorted.map(({ line, value }) => ({ color: line.color, name: line.name, text: full(value) })));
    };
    const hide = () => {
      cursor.classList.remove("shown");
      fill(dots);
      tip.hide();
    };
    const nearest = (at) => Math.round(((at - MARGIN.left) / Math.max(1, inner)) * (labels.length - 1));
    const pick = onpick && ((index, at) => {
      const distance = (line) => Math.abs(scaled.y(line.values[index] ?? 0) - (at ?? 0));
      const best = series.map((line, position) => ({ position, gap: distance(line) })).sort((a, b) => a.gap - b.gap)[0];
      onpick(best.position, index);
    });
    walk(svg, labels.length, nearest, show, hide, pick);
  });
}

function pathOf(values, x, y, from = 0) {
  let path = "";
  let pen = "M";
  for (let index = from; index < values.length; index++) {
    const value = values[index];
    if (value === null || value === undefined) pen = "M";
    else {
      path += `${pen}${x(index).toFixed(1)},${y(value).toFixed(1)}`;
      pen = "L";
    }
  }
  return path;
}

// What lies between the line and `base`. A line that is broken has a piece for each of its parts.
function areaOf(values, x, y, base) {
  const parts = pathOf(values, x, y).split("M").slice(1);
  return parts.map((part) => `M${part}V${base}H${part.split(",")[0]}Z`).join("");
}

// layers: [{name, color, values}], drawn upwards from 0, and downwards where values are negative. `line` is drawn on top.
export function stacks(element, { labels, layers, line, write = format.compact, full = format.number, height = 320, onpick, incomplete = 0, label }) {
  responsive(element, (width) => {
    const sums = labels.map((_, index) => {
      const here = layers.map((layer) => layer.values[index] ?? 0);
      return [here.filter((v) => v > 0).reduce((a, b) => a + b, 0), here.filter((v) => v < 0).reduce((a, b) => a + b, 0)];
    });
    const scaled = scale([...sums.flat(), ...(line ? line.values.filter((v) => v !== null) : [])], height);
    const band = (width - MARGIN.left - MARGIN.right) / Math.max(1, labels.length);
    const gap = Math.min(12, band * 0.22);
    const x = (index) => MARGIN.left + band * (index + 0.5);
    const cells = [];
    const bars = labels.map((_, index) => {
      let [up, down] = [0, 0];
      const fades = index >= labels.length - incomplete;
      return layers.map((layer, position) => {
        const value = layer.values[index] ?? 0;
        if (!value) return null;
        const start = value > 0 ? up : down;
        const end = start + value;
        if (value > 0) up = end;
        else down = end;
        const [top, bottom] = [scaled.y(Math.max(start, end)), scaled.y(Math.min(start, end))];
        cells.push({ index, position, top, bottom });
        return s("rect", { class: fades ? "bar open" : "bar", x: x(index) - band / 2 + gap / 2, width: Math.max(1, Math.min(band - gap, 90)), y: top, height: Math.max(1, bottom - top), fill: layer.color, rx: Math.min(2, band / 8), transform: band - gap > 90 ? `translate(${(band - gap - 90) / 2} 0)` : undefined });
      });
    });
    const over = line ? s("path.line", { d: pathOf(line.values, x, scaled.y), stroke: line.color }) : null;
    const hover = s("rect.hover", { y: MARGIN.top, height: height - MARGIN.top - MARGIN.bottom, width: band });
    const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, tabindex: "0", role: "img", "aria-label": label, class: onpick ? "pickable" : "" },
      yAxis(scaled, width, write), hover, bars, over, xAxis(labels, x, width, height));
    fill(element, svg);
    const tip = tooltip(element);
    const show = (index) => {
      hover.setAttribute("x", MARGIN.left + band * index);
      hover.classList.add("shown");
      const told = layers.map((layer) => ({ color: layer.color, name: layer.name, text: full(layer.values[index]), dim: !layer.values[index] }));
      if (line) told.push({ color: line.color, name: line.name, text: full(line.values[index]) });
      tip.show(x(index), width, labels[index], told);
    };
    const hide = () => {
      hover.classList.remove("shown");
      tip.hide();
    };
    const nearest = (at) => Math.floor((at - MARGIN.left) / band);
    const pick = onpick && ((index, at) => {
      const here = cells.filter((cell) => cell.index === index);
      const hit = at === null ? here[0] : here.find((cell) => cell.top - 2 <= at && at <= cell.bottom + 2);
      if (hit) onpick(hit.position, index);
    });
    walk(svg, labels.length, nearest, show, hide, pick);
  });
}

// A line as small as a word.
export function spark(values, stroke = "var(--c1)", [width, height] = [120, 34]) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const [low, high] = [Math.min(0, ...known), Math.max(...known, 0) || 1];
  const x = (index) => 2 + (index / Math.max(1, values.length - 1)) * (width - 4);
  const y = (value) => height - 3 - ((value - low) / (high - low || 1)) * (height - 6);
  const path = pathOf(values, x, y);
  return s("svg.spark", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    path ? s("path.area", { d: areaOf(values, x, y, height), fill: stroke }) : null,
    s("path.line", { d: path, stroke }));
}

export function legend(items) {
  return items.length < 2 ? null : h("ul.legend", {}, items.map(({ color, name }) => h("li", {}, h("i", { style: { background: color } }), name)));
}
