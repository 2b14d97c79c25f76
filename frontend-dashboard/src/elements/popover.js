/**
 * A small surface that belongs to a button: opens under it, closes on Esc, on a click elsewhere and when focus
 * leaves.
 */

import { el } from "../dom.js";

/**
 * @param {HTMLButtonElement} button
 * @param {(close: () => void) => Node} content made anew each time it opens
 * @returns {HTMLElement} a wrapper that holds both
 */
export function popover(button, content, { align = "end", label = "" } = {}) {
  const surface = el("div", { class: `popover popover-${align}`, hidden: true, role: "dialog", "aria-label": label });
  const wrapper = el("div", { class: "popover-host" }, button, surface);
  button.setAttribute("aria-haspopup", "dialog");
  button.setAttribute("aria-expanded", "false");
  let open = null;
  function close(refocus = true) {
    if (!open) return;
    open.abort();
    open = null;
    surface.hidden = true;
    button.setAttribute("aria-expanded", "false");
    if (refocus) button.focus();
  }
  button.addEventListener("click", () => {
    if (open) {
      close();
      return;
    }
    open = new AbortController();
    surface.replaceChildren(content(close));
    surface.hidden = false;
    button.setAttribute("aria-expanded", "true");
    const inside = (event) => wrapper.contains(event.target);
    addEventListener(
      "pointerdown",
      (event) => {
        if (!inside(event)) close(false);
      },
      { signal: open.signal, capture: true },
    );
    wrapper.addEventListener(
      "focusout",
      (event) => {
        if (event.relatedTarget && !wrapper.contains(event.relatedTarget)) close(false);
      },
      { signal: open.signal },
    );
    wrapper.addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        close();
      },
      { signal: open.signal },
    );
    surface.querySelector("[autofocus], input, button, [tabindex]")?.focus();
  });
  return wrapper;
}
