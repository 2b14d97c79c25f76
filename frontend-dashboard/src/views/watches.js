/** The watches: what is looked at all the time, how each fares, a new one; and what is silenced. */

import { el } from "../dom.js";
import { row, table } from "../elements/data_table.js";
import { confirmed } from "../elements/dialog.js";
import { emptyState } from "../elements/states.js";
import { relativeTime, shortTime } from "../format/time.js";
import { fullName } from "../state/query.js";
import { card, choice, dangerButton, field, form, refreshing, section, textInput } from "./settings/section.js";

const STEPS = [
  ["60000", "1 min"],
  ["300000", "5 min"],
  ["900000", "15 min"],
];
const PILLS = { watching: "succeeded", learning: "running", late: "failed", failing: "failed" };

export function watchSections(app, signal) {
  const ask = (path, request) => app.client.service("aps", `/api/v1/${path}`, request);
  const mayRun = app.can("analysis:run");
  const list = section(app, "Watches", signal, async (part, ended) => {
    const { watches } = await ask("watches", { signal: ended });
    if (watches.length === 0) return emptyState("No watch yet", "A watch looks at a query all the time.");
    return table(
      ["Watch", "State", "Series", "Judged until", ""],
      watches.map((watch) => watchRow(ask, part, watch, mayRun)),
    );
  });
  const silences = section(app, "Silences", signal, async (part, ended) => {
    const { silences: all } = await ask("silences", { signal: ended });
    if (all.length === 0) return el("p", { class: "quiet" }, "Nothing is silenced.");
    const end = ({ id }) => part.change(() => ask(`silences/${id}`, { method: "DELETE" }), "Ended");
    return table(
      ["What", "Until", ""],
      all.map((silence) =>
        row(
          ["wrap", el("code", {}, fullName(silence.matchers))],
          ["nowrap", shortTime(Date.parse(silence.until))],
          ["end", mayRun && dangerButton("End", () => end(silence))],
        ),
      ),
    );
  });
  refreshing(list, signal);
  return [
    mayRun && card(el("h2", { class: "section-title" }, "New watch"), watchForm(app, ask, list)),
    list.card,
    silences.card,
  ];
}

function watchForm(app, ask, list) {
  const make = async (values, sent) => {
    const sensitivity = values.get("sensitivity");
    const json = {
      name: values.get("name"),
      query: values.get("query").trim(),
      step_ms: Number(values.get("step")),
      params: sensitivity ? { sensitivity: Number(sensitivity) } : {},
    };
    await ask("watches", { method: "POST", json });
    app.toast("It watches from now on");
    sent.reset();
    list.reload();
  };
  return form(make, [
    field("Name", textInput({ name: "name", maxLength: 200 })),
    field("Query", textInput({ name: "query", class: "input mono", placeholder: "rate(http_requests_total[5m])" }), {
      grow: true,
    }),
    field("Each", choice({ name: "step" }, STEPS)),
    field(
      "Sensitivity",
      textInput({ name: "sensitivity", type: "number", step: "any", required: false, placeholder: "as usual" }),
    ),
    el("button", { type: "submit", class: "button primary" }, "Watch"),
  ]);
}

function watchRow(ask, part, watch, mayRun) {
  const { name, query, step_ms, params, enabled, error } = watch;
  const path = `watches/${encodeURIComponent(watch.id)}`;
  const words = enabled ? "Pause" : "Resume";
  const json = { name, query, step_ms, params, enabled: !enabled };
  const turn = () => part.change(() => ask(path, { method: "PUT", json }), `${words}d`);
  const remove = () =>
    confirmed(`Delete “${name}”?`, "Its events stay in the feed.", "Delete", () =>
      part.change(() => ask(path, { method: "DELETE" }), "Deleted"),
    );
  const state = error ? "failing" : watch.state;
  const made = row(
    el(
      "div",
      {},
      name,
      watch.created_by.startsWith("service:") && el("span", { class: "tag" }, "default"),
      el("code", { class: "quiet under wrap" }, query),
    ),
    [
      "wrap",
      el(
        "div",
        {},
        el("span", { class: `pill ${PILLS[state] ?? ""}` }, state),
        error && el("span", { class: "quiet under" }, error),
      ),
    ],
    ["number", String(watch.series ?? "–")],
    ["quiet", watch.judged_until_ms ? relativeTime(watch.judged_until_ms) : "not yet"],
    [
      "end",
      mayRun && [
        el("button", { class: "button small plain", "aria-label": `${words} ${name}`, on: { click: turn } }, words),
        dangerButton("Delete", remove),
      ],
    ],
  );
  made.classList.toggle("off", !enabled);
  return made;
}
