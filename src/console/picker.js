// A button that opens a searchable list: how events, properties and cohorts are picked.
//
// The pattern is that of an ARIA combobox: the focus stays in the search field, arrows move the active option, Enter
// takes it, Escape leaves.

import { h, fill } from "./dom.js";

const SHOWN_MAX = 200;
let nextId = 1;

// groups() gives [{label, options: [{value, label, note}]}]. What is typed can be taken as it is with `free`.
export function picker({ label, value, placeholder = "Choose…", groups, onpick, free = false, className = "" }) {
  const button = h(
    "button.picker", { type: "button", "aria-haspopup": "listbox", "aria-label": `${label}: ${value || placeholder}`, class: className },
    h("span", { class: value ? "picker-value" : "picker-value faint" }, value || placeholder), h("span.caret", { "aria-hidden": "true" }, "▾"),
  );
  button.addEventListener("click", () => open(button, { label, groups, onpick, free, value }));
  return button;
}

function open(button, { label, groups, onpick, free, value }) {
  const id = `list-${nextId++}`;
  const all = groups();
  const list = h("div.picker-list", { role: "listbox", id, "aria-label": label });
  const input = h("input.picker-search", {
    type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": id, "aria-label": `Search: ${label}`,
    placeholder: "Search", autocomplete: "off", spellcheck: "false",
  });
  const box = h("div.picker-box", {}, input, list);
  const scrim = h("div.scrim", { onclick: () => close(true) });
  let options = [];
  let active = 0;

  function show() {
    const wanted = input.value.trim().toLowerCase();
    options = [];
    const rows = [];
    for (const group of all) {
      const found = group.options.filter((option) => !wanted || `${option.label} ${option.value}`.toLowerCase().includes(wanted));
      if (!found.length) continue;
      if (group.label) rows.push(h("div.picker-group", { role: "presentation" }, group.label));
      for (const option of found.slice(0, SHOWN_MAX)) {
        const index = options.length;
        const row = h("div.picker-option", { role: "option", id: `${id}-${index}`, "aria-selected": "false" },
          h("span", {}, option.label), option.note ? h("small", {}, option.note) : null);
        row.addEventListener("pointermove", () => move(index, false));
        row.addEventListener("click", () => take(index));
        options.push({ ...option, row });
        rows.push(row);
      }
      if (found.length > SHOWN_MAX) rows.push(h("div.picker-group", {}, `and ${found.length - SHOWN_MAX} more: type to narrow`));
    }
    if (free && wanted && !options.some((option) => option.label.toLowerCase() === wanted)) {
      const typed = input.value.trim();
      const row = h("div.picker-option", { role: "option", id: `${id}-${options.length}` }, h("span", {}, `“${typed}”`), h("small", {}, "as typed"));
      const index = options.length;
      row.addEventListener("click", () => take(index));
      options.push({ value: typed, label: typed, row });
      rows.push(row);
    }
    fill(list, rows.length ? rows : h("div.picker-group", {}, "Nothing matches"));
    const chosen = options.findIndex((option) => option.label === value);
    move(wanted || chosen < 0 ? 0 : chosen, true);
  }

  function move(index, scroll) {
    options[active]?.row.setAttribute("aria-selected", "false");
    active = Math.max(0, Math.min(index, options.length - 1));
    const option = options[active];
    if (!option) return input.removeAttribute("aria-activedescendant");
    option.row.setAttribute("aria-selected", "true");
    input.setAttribute("aria-activedescendant", option.row.id);
    if (scroll) option.row.scrollIntoView({ block: "nearest" });
  }

  function take(index) {
    const option = options[index];
    if (!option) return;
    close(true);
    onpick(option.value, option);
  }

  function close(refocus) {
    box.remove();
    scrim.remove();
    if (refocus && button.isConnected) button.focus();
  }

  input.addEventListener("input", show);
  input.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    if (event.key in steps) move(active + steps[event.key], true);
    else if (event.key === "Enter") take(active);
    else if (event.key === "Escape" || event.key === "Tab") close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // Inside a dialog, what lies outside of it cannot be reached.
  const host = button.closest("dialog") || document.getElementById("layer");
  host.append(scrim, box);
  place(box, button);
  show();
  input.focus();
}

function place(box, button) {
  const at = button.getBoundingClientRect();
  const width = Math.min(Math.max(at.width, 280), innerWidth - 16);
  const below = innerHeight - at.bottom - 12;
  const height = Math.min(360, Math.max(below, at.top - 12));
  box.style.width = `${width}px`;
  box.style.maxHeight = `${height}px`;
  box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  if (below >= Math.min(height, 260)) box.style.top = `${at.bottom + 4}px`;
  else box.style.bottom = `${innerHeight - at.top + 4}px`;
}
