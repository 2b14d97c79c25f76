/** The watches: what is looked at all the time, how each fares, a new one; and what is silenced. */

import { el } from "../dom.js";
import { row, table } from "../elements/data_table.js";
import { confirmed } from "../elements/dialog.js";
import { emptyState } from "../elements/states.js";
import { relativeTime, shortTime } from "../format/time.js";
import { fullName } from "../state/query.js";
import { card, choice, dangerButton, field, form, refreshing, section, textInput } from "./settings/section.js";

export const NO_WATCH =
  "The usual watches are made within five minutes of the first samples; a watch of your own looks at any query.";
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
    if (watches.length === 0) return emptyState("No watch yet", NO_WATCH);
    return table(
      ["Watch", "State", "Series", "Judged until", ""],
      watches.map((watch) => watchRow(ask, part, watch, mayRun && making.edit)),
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
  const making = watchForm(app, ask, list);
  refreshing(list, signal);
  return [mayRun && card(el("h2", { class: "section-title" }, "Watch a query"), making.node), list.card, silences.card];
}

/** A new watch; `edit` fills in one that is there, which is then changed. */
function watchForm(app, ask, list) {
  let edited = null;
  const submit = el("button", { type: "submit", class: "button primary" }, "Watch");
  const cancel = el("button", { type: "reset", class: "button plain", hidden: true }, "Cancel");
  const begin = (watch) => {
    edited = watch;
    submit.textContent = watch ? "Save" : "Watch";
    cancel.hidden = !watch;
  };
  const send = async (values, sent) => {
    const sensitivity = values.get("sensitivity");
    const { sensitivity: _, ...params } = edited?.params ?? {};
    const json = {
      name: values.get("name"),
      query: values.get("query").trim(),
      step_ms: Number(values.get("step")) || edited.step_ms, // a step that is not offered stays
      params: sensitivity ? { ...params, sensitivity: Number(sensitivity) } : params,
      ...(edited && { enabled: edited.enabled }),
    };
    await ask(edited ? pathOf(edited) : "watches", { method: edited ? "PUT" : "POST", json });
    app.toast(edited ? "Saved" : "It watches from now on");
    sent.reset();
    list.reload();
  };
  const node = form(send, [
    field("Name", textInput({ name: "name", maxLength: 200 })),
    field("Query", textInput({ name: "query", class: "input mono", placeholder: "rate(http_requests_total[5m])" }), {
      grow: true,
    }),
    field("Every", choice({ name: "step" }, STEPS)),
    field(
      "Sensitivity",
      textInput({ name: "sensitivity", type: "number", step: "any", required: false, placeholder: "as usual" }),
    ),
    submit,
    cancel,
  ]);
  node.addEventListener("reset", () => begin(null));
  const edit = (watch) => {
    begin(watch);
    const { name, query, step_ms: step, params } = watch;
    for (const [input, value] of Object.entries({ name, query, step, sensitivity: params.sensitivity ?? "" }))
      node.elements[input].value = value;
    node.elements.query.focus();
  };
  return { node, edit };
}

function pathOf({ id }) {
  return `watches/${encodeURIComponent(id)}`;
}

function watchRow(ask, part, watch, edit) {
  const { name, query, step_ms, params, enabled, error } = watch;
  const path = pathOf(watch);
  const words = enabled ? "Pause" : "Resume";
  const json = { name, query, step_ms, params, enabled: !enabled };
  const turn = () => part.change(() => ask(path, { method: "PUT", json }), `${words}d`);
  const remove = () =>
    confirmed(`Delete “${name}”?`, "Its events stay in the feed.", "Delete", () =>
      part.change(() => ask(path, { method: "DELETE" }), "Deleted"),
    );
  const act = (verb, click) =>
    el("button", { class: "button small plain", "aria-label": `${verb} ${name}`, on: { click } }, verb);
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
    ["end nowrap", edit && [act("Edit", () => edit(watch)), act(words, turn), dangerButton("Delete", remove)]],
  );
  made.classList.toggle("off", !enabled);
  return made;
}
