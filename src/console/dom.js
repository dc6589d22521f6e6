// Makes elements. Text only ever becomes text: nothing here, or anywhere in the console, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

// h("button.quiet", {onclick}, "Run"): a tag with classes, properties, children. A child that is null or false is left out.
export function h(tag, props, ...children) {
  return make(document.createElement(tagName(tag)), tag, props, children);
}

// The same for drawings.
export function s(tag, props, ...children) {
  return make(document.createElementNS(SVG, tagName(tag)), tag, props, children);
}

function tagName(tag) {
  return tag.split(".")[0] || "div";
}

function make(element, tag, props, children) {
  const classes = tag.split(".").slice(1);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.classList.add(...value.split(" ").filter(Boolean));
    // Through the object model: the page's policy refuses style attributes.
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

// Puts these children in place of all others.
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

let toastTimer;
export function toast(text) {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => element.classList.remove("shown"), 2600);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    toast("The browser does not let this page copy; select the text instead");
  }
}

// Saves text as a file.
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// A panel over the page. Takes the focus, gives it back, and closes with Escape or a click beside it.
export function dialog(label, className, content) {
  const box = h("dialog." + className, { "aria-label": label });
  const close = () => box.close();
  fill(box, content(close));
  box.addEventListener("click", (event) => event.target === box && close());
  box.addEventListener("close", () => box.remove());
  document.getElementById("layer").append(box);
  box.showModal();
  return box;
}
