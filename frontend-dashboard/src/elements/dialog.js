/** A modal dialog: gone when it is closed, and the focus is where it was, or in the view where that is gone. */

import { el, icon, rescueFocus } from "../dom.js";

/**
 * @param {{title: string, label?: string, wide?: boolean, held?: boolean, closed?: (dialog: HTMLDialogElement) => void}} parts
 * `held`: neither Esc nor a cross closes it, only what is in it; `closed` is called once it is gone
 */
export function openDialog({ title, label = title, wide = false, held = false, closed = () => {} }, ...content) {
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
          if (held) event.preventDefault();
        },
        keydown: (event) => {
          if (held && event.key === "Escape") event.preventDefault(); // a second Esc would not ask `cancel`
        },
      },
    },
    el(
      "div",
      { class: "dialog-head" },
      el("h2", {}, title),
      !held &&
        el(
          "button",
          {
            type: "button",
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
      el("button", { class: "button", value: "no" }, "Keep"),
      el("button", { class: "button danger-fill", value: "yes" }, action),
    ),
  );
}
