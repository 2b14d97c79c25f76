/** What to do next in an organisation that has sent nothing yet, in place of charts of nothing. */

import { isAbort } from "../api/client.js";
import { el, wait } from "../dom.js";
import { emptyState } from "./states.js";

const POLL_MS = 5000;

/** The card; it shows itself (layout.css) while `main` has the class `no-samples`. */
export function firstSteps(app) {
  const mayMake = app.can("admin");
  return el(
    "section",
    { class: "card first-steps" },
    emptyState(
      `${app.session.organisation.name} has no samples yet`,
      mayMake
        ? "Make a key, paste it where your samples are, and see the first one arrive."
        : "Its owners and admins make the keys that agents send samples with.",
      el("a", { class: "button primary", href: "#/add" }, mayMake ? "Add data" : "How to send some"),
    ),
  );
}

/** `main` has the class `no-samples` from when that is certain until the first one came. */
export async function watchFirstSample(app, main, signal) {
  for (;;) {
    try {
      const names = await app.prometheus.labels({ limit: 1 }, signal); // of all time
      main.classList.toggle("no-samples", names.length === 0);
      if (names.length > 0) return;
    } catch (error) {
      if (isAbort(error) || signal.aborted) return; // not reachable: the view says so
    }
    try {
      await wait(POLL_MS, signal);
    } catch {
      return;
    }
  }
}
