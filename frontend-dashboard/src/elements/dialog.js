/** Modal dialogs: gone when they are closed, and the focus is where it was, or in the view where that is gone. */

import { askBeforeLeaving, el, icon, rescueFocus } from "../dom.js";
import { snippet } from "./snippet.js";

/**
 * @param {object} parts
 * @param {string} parts.title
 * @param {string} [parts.label]
 * @param {boolean} [parts.wide]
 * @param {boolean} [parts.stays] neither Esc nor a cross closes it, only what is in it
 * @param {(dialog: HTMLDialogElement) => void} [parts.closed] called once it is gone
 */
export function openDialog({ title, label = title, wide = false, stays = false, closed = () => {} }, ...content) {
  const dialog = el(
    "dialog",
    {
      class: wide ? "dialog wide" : "dialog",
      "aria-label": label,
      on: {
        close: () => {
          dialog.remove();
          rescueFocus();
          closed(dialog);
        },
        cancel: (event) => {
          if (stays) event.preventDefault();
        },
        keydown: (event) => {
          if (stays && event.key === "Escape") event.preventDefault(); // a second Esc would not ask `cancel`
        },
      },
    },
    el(
      "div",
      { class: "dialog-head" },
      el("h2", {}, title),
      !stays &&
        el(
          "button",
          {
            class: "button icon-only plain",
            "aria-label": "Close",
            on: { click: () => dialog.close() },
          },
          icon("close"),
        ),
    ),
    content,
  );
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks whether to go on; `act` is called on yes. */
export function confirmed(title, text, action, act) {
  openDialog(
    { title, closed: (dialog) => dialog.returnValue === "yes" && act() },
    el("p", { class: "quiet" }, text),
    el(
      "form",
      { method: "dialog", class: "form-actions" },
      el("button", { type: "submit", class: "button", value: "no" }, "Keep"),
      el("button", { type: "submit", class: "button danger-fill", value: "yes" }, action),
    ),
  );
}

/**
 * Shows a secret that is never shown again: it stays until it is confirmed, and leaving the page asks first. `closed`
 * is called after that.
 */
export function shownOnce({ title, text, secret, label, closed = () => {} }) {
  const letGo = askBeforeLeaving();
  const over = () => {
    letGo();
    closed();
  };
  const dialog = openDialog(
    { title, stays: true, closed: over },
    el("p", { class: "quiet" }, text),
    snippet(secret, label),
    el(
      "div",
      { class: "form-actions" },
      el("button", { class: "button primary", on: { click: () => dialog.close() } }, "I have it"),
    ),
  );
}
