/** The audit log: what was changed by whom, newest first, a page at a time. */

import { isAbort } from "../../api/client.js";
import { el, rescueFocus } from "../../dom.js";
import { emptyState } from "../../elements/states.js";
import { addRows, row, table } from "../../elements/data_table.js";
import { fullTime, relativeTime } from "../../format/time.js";
import { section } from "./section.js";

const PAGE = 50;
const HEADS = ["When", "Who", "Did", "To", "Detail"];

export function auditSections(app, signal) {
  const page = async (ended, before = "") => {
    const search = new URLSearchParams({ limit: String(PAGE), ...(before ? { before } : {}) });
    return (await app.client.ubs("GET", `/api/v1/audit?${search}`, undefined, { signal: ended })).events;
  };
  return section(app, "Audit log", signal, async (_, ended) => {
    const events = await page(ended);
    if (events.length === 0)
      return emptyState("Nothing was changed yet", "Sign-ins, keys, members and roles are written down here.");
    const shown = table(HEADS, events.map(eventRow));
    return [shown, events.length === PAGE && moreButton(app, shown, (seq) => page(signal, seq), events.at(-1).seq)];
  }).card;
}

/** A button that adds older events to the table, and goes with the last of them. */
function moreButton(app, shown, olderThan, seq) {
  let before = seq;
  const more = el("button", { class: "button", on: { click: add } }, "Show older");
  async function add() {
    more.disabled = true;
    try {
      const events = await olderThan(before);
      addRows(shown, events.map(eventRow));
      before = events.at(-1)?.seq;
      if (events.length < PAGE) more.remove();
    } catch (error) {
      if (!isAbort(error)) app.toast(error.message, { bad: true });
    }
    more.disabled = false;
    if (more.isConnected) more.focus();
    else rescueFocus();
  }
  return more;
}

function eventRow({ at, actor, action, target, detail }) {
  return row(
    ["quiet nowrap", fullTime(Date.parse(at)), relativeTime(Date.parse(at))],
    actor ?? "–",
    el("code", {}, action),
    ["wrap", target ?? ""],
    ["quiet wrap", detailText(detail)],
  );
}

function detailText(detail) {
  if (detail === null || detail === undefined) return "";
  if (typeof detail !== "object") return String(detail);
  return Object.entries(detail)
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}
