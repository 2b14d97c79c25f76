/**
 * A small surface that belongs to a button: the platform's popover, so that it is above everything, closes on Esc and
 * on a click elsewhere, and gives the focus back. It is placed inside of the window, whatever its width.
 */

import { el } from "../dom.js";

const EDGE_PX = 8;
const GAP_PX = 6;

/** Left and top of a surface beside its button, all of it inside of the window where it fits. Pure; CSS pixels. */
export function placed(button, surface, view, align) {
  const left = align === "up" ? button.left : button.right - surface.width;
  const top = align === "up" ? button.top - GAP_PX - surface.height : button.bottom + GAP_PX;
  const within = (at, size, room) => Math.max(EDGE_PX, Math.min(at, room - size - EDGE_PX));
  return { left: within(left, surface.width, view.width), top: within(top, surface.height, view.height) };
}

/**
 * @param {HTMLButtonElement} button
 * @param {(close: () => void) => Node} content made anew each time it opens
 * @returns {HTMLElement} a wrapper that holds both
 */
export function popover(button, content, { align = "end", label = "" } = {}) {
  const surface = el("div", { class: "popover", popover: "auto", role: "dialog", "aria-label": label });
  const wrapper = el("div", { class: "popover-host" }, button, surface);
  const close = () => surface.hidePopover();
  const place = () => {
    const view = { width: document.documentElement.clientWidth, height: innerHeight };
    const { left, top } = placed(button.getBoundingClientRect(), surface.getBoundingClientRect(), view, align);
    surface.style.left = `${left}px`;
    surface.style.top = `${top}px`;
  };
  button.popoverTargetElement = surface;
  button.setAttribute("aria-haspopup", "dialog");
  surface.addEventListener("beforetoggle", ({ newState }) => {
    if (newState === "open") surface.replaceChildren(content(close));
  });
  surface.addEventListener("toggle", ({ newState }) => {
    button.setAttribute("aria-expanded", String(newState === "open"));
    if (newState !== "open") {
      removeEventListener("resize", place);
      return;
    }
    place();
    addEventListener("resize", place);
    surface.querySelector("[autofocus], input, button, [tabindex]")?.focus();
  });
  surface.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget && !wrapper.contains(relatedTarget)) close();
  });
  return wrapper;
}

/**
 * A button with a list of choices.
 * @param {[any, string][]} items values and their words
 * @param {(value: any, words: string) => void} choose
 */
export function menu(button, label, items, choose) {
  const item = (close, value, words) => {
    const click = () => {
      close();
      choose(value, words);
    };
    return el("button", { class: "menu-item", on: { click } }, words);
  };
  const content = (close) =>
    el(
      "div",
      { class: "stack menu" },
      items.map(([value, words]) => item(close, value, words)),
    );
  return popover(button, content, { label });
}
