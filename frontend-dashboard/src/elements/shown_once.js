/** A secret that is shown this once: it stays until it is confirmed, and leaving the page asks first. */

import { askBeforeLeaving, el } from "../dom.js";
import { openDialog } from "./dialog.js";
import { snippet } from "./snippet.js";

export function shownOnce({ title, text, secret, label }) {
  const letGo = askBeforeLeaving();
  const dialog = openDialog(
    { title, held: true, closed: letGo },
    el("p", { class: "quiet" }, text),
    snippet(secret, label),
    el(
      "div",
      { class: "form-actions" },
      el("button", { type: "button", class: "button primary", on: { click: () => dialog.close() } }, "I have it"),
    ),
  );
}
