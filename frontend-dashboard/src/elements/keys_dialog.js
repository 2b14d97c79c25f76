/** The keys of the page, and the switch that turns single letters off. */

import { el } from "../dom.js";
import { lettersAct, setLettersAct } from "../state/shortcuts.js";
import { openDialog } from "./dialog.js";

const KEYS = [
  [
    "Go to",
    [
      ["g o", "Overview"],
      ["g e", "Explore"],
      ["g a", "Analysis"],
      ["g v", "Events"],
      ["g d", "Add data"],
      ["g u", "Usage"],
      ["g s", "Settings"],
    ],
  ],
  [
    "Time",
    [
      ["drag", "zoom into a range"],
      ["Backspace", "the range before"],
      ["+ / -", "zoom in / out"],
      ["[ / ]", "move back / forward"],
      ["r", "refresh now"],
    ],
  ],
  [
    "Charts",
    [
      ["← →", "read the points of a focused chart"],
      ["click", "pin the tooltip; isolate a series in the legend"],
      ["Ctrl click", "add or remove a series"],
    ],
  ],
  [
    "Anywhere",
    [
      ["/", "search or edit the query"],
      ["?", "this help"],
      ["Esc", "close"],
    ],
  ],
];

/** Opens the list of keys; gone when it is closed. */
export function keysDialog() {
  const dialog = openDialog(
    { title: "Keyboard" },
    el(
      "div",
      { class: "help-grid" },
      KEYS.map(([title, rows]) =>
        el(
          "section",
          {},
          el("h3", { class: "eyebrow" }, title),
          el(
            "dl",
            {},
            rows.map(([keys, words]) =>
              el(
                "div",
                {},
                el(
                  "dt",
                  {},
                  keys.split(" ").map((key) => (key === "/" && keys.includes(" ") ? " / " : el("kbd", {}, key))),
                ),
                el("dd", {}, words),
              ),
            ),
          ),
        ),
      ),
    ),
    el(
      "label",
      { class: "check" },
      el("input", {
        type: "checkbox",
        checked: lettersAct(),
        on: { change: (event) => setLettersAct(event.target.checked) },
      }),
      "Single letters act",
    ),
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  return dialog;
}
