/** Making elements. Text goes in as text nodes only: there is no way from here to an HTML string. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children.
 * `class`, `data-*`, `aria-*`, `role`, `for` and hyphenated names are attributes, `on` holds listeners, the rest are
 * properties. A button sends no form unless its type says so.
 * @param {string} tag
 * @param {object} properties
 * @param {...(Node|string|number|null|false|undefined|Array)} children
 */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  if (tag === "button") node.type = "button";
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name === "on")
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name.includes("-") || name === "role" || name === "for" || name === "list" || name === "colspan") {
      if (value !== false) node.setAttribute(name, value === true ? "" : value);
    } else node[name] = value;
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** The node now holds exactly these children. */
export function fill(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

/** The node's text is `text`; nothing is laid out anew where it was already. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Where the focus fell to the body, because what had it is gone, the view has it. */
export function rescueFocus() {
  if (document.activeElement === document.body) document.querySelector("main")?.focus({ preventScroll: true });
}

/** Leaving the page asks first, until the function that is returned is called. */
export function askBeforeLeaving() {
  const ask = (event) => event.preventDefault();
  addEventListener("beforeunload", ask);
  return () => removeEventListener("beforeunload", ask);
}

const ICONS = {
  overview: ["M3 13h4l2-7 4 14 3-9 1.5 2H21"],
  explore: ["M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13Z", "m20 20-4.8-4.8"],
  analysis: ["M4 19V5", "M4 19h16", "m7 15 3.5-5 3 3L19 6", "M19 6v3.5M19 6h-3.5"],
  events: ["M18 16V11a6 6 0 1 0-12 0v5l-1.5 2h15L18 16Z", "M10 20.5h4"],
  add: ["M12 5v14", "M5 12h14"],
  usage: ["M4 20h16", "M6.5 20v-6", "M12 20V5", "M17.5 20v-9"],
  settings: [
    "M4 7h9m4 0h3M4 17h3m4 0h9",
    "M15 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
    "M9 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  ],
  clock: ["M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z", "M12 7.5V12l3 2"],
  refresh: ["M20 11a8 8 0 1 0-.6 4", "M20 5v6h-6"],
  sun: [
    "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8Z",
    "M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  ],
  moon: ["M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z"],
  system: ["M4 5h16v11H4z", "M9 20h6M12 16v4"],
  copy: ["M9 9h10v11H9z", "M15 9V4H5v11h4"],
  check: ["m5 12.5 4.5 4.5L19 7.5"],
  close: ["M6 6l12 12M18 6 6 18"],
  chevron: ["m7 10 5 5 5-5"],
  warning: ["M12 4 2.8 20h18.4L12 4Z", "M12 10v4.5M12 17.3v.2"],
  key: ["M8 15.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9Z", "M12.3 12H21v3.5M17 12v3"],
  back: ["M19 12H5", "m11 6-6 6 6 6"],
  out: ["M14 4h5v16h-5", "M3.5 12H14", "m10.5 8 3.8 4-3.8 4"],
  zoomOut: ["M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13Z", "m20 20-4.8-4.8", "M7.5 10.5h6"],
  download: ["M12 4v11", "m7 11 5 5 5-5", "M5 20h14"],
  share: ["M9.5 14.5 14.5 9.5", "M11 7l2-2a4.2 4.2 0 0 1 6 6l-2 2", "M13 17l-2 2a4.2 4.2 0 0 1-6-6l2-2"],
  keyboard: ["M3 6.5h18v11H3z", "M7 10h.1M11 10h.1M15 10h.1M17.5 10h.1M8 14h8"],
};

/** A line icon of the set; decoration, so hidden from assistive technology. */
export function icon(name) {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" },
    ICONS[name].map((d) => svg("path", { d })),
  );
}

/** An SVG element with these attributes. */
export function svg(tag, attributes, children = []) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Resolves after `ms`; rejects with its reason once `signal` ends. */
export function wait(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const timer = setTimeout(done, ms);
    function done() {
      signal?.removeEventListener("abort", stop);
      resolve();
    }
    function stop() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** The text is on the clipboard afterwards; false where the browser does not let a page do that. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // plain http from another machine has no clipboard API
    const area = el("textarea", { value: text, class: "offscreen", readOnly: true });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

/** A file of this content is saved by the browser. */
export function download(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
