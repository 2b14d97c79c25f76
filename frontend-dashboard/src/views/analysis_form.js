/** The form of a new analysis: its query, range, step and parameters. */

import { el, fill } from "../dom.js";
import { duration } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { stepChoices } from "../state/jobs.js";
import { PRESETS, resolve } from "../state/time_range.js";

/**
 * @param {object} analysis as aps describes it
 * @param {{q?: string, from?: string, to?: string}} params of the URL
 * @param {(asked: object) => Promise<void>} start the job is asked for; what it throws is told in the form
 */
export function analysisForm(analysis, params, start) {
  const query = el("textarea", {
    class: "input mono",
    name: "query",
    rows: 2,
    required: true,
    spellcheck: false,
    value: params.q ?? "",
    placeholder: "sum(rate(cloudopshub_http_requests_total[5m]))",
    "data-search": "primary",
  });
  const asked = { from: params.from ?? "now-24h", to: params.to ?? "now" };
  const presets = PRESETS.map(([length, words]) => [`now-${length}`, `last ${words}`]);
  const known = asked.to === "now" && presets.some(([from]) => from === asked.from);
  const range = el(
    "select",
    { class: "select wide", name: "range" },
    !known && el("option", { value: "" }, "the range from Explore"),
    presets.map(([from, words]) => el("option", { value: from, selected: known && from === asked.from }, words)),
  );
  const step = el("select", { class: "select wide", name: "step" });
  const span = () =>
    resolve(range.value ? { from: range.value, to: "now" } : asked, hubClock.now()) ??
    resolve({ from: "now-24h", to: "now" }, hubClock.now());
  const fillSteps = () => {
    const { choices, best } = stepChoices(span());
    fill(
      step,
      choices.map((seconds) => el("option", { value: String(seconds), selected: seconds === best }, duration(seconds))),
    );
  };
  range.addEventListener("change", fillSteps);
  fillSteps();
  const parameters = analysis.parameters;
  const trouble = el("p", { class: "form-trouble", role: "alert" });
  const submit = el("button", { type: "submit", class: "button primary" }, "Start");
  return el(
    "form",
    {
      class: "card stack",
      on: {
        submit: async (event) => {
          event.preventDefault();
          trouble.textContent = "";
          submit.disabled = true;
          const stepMs = Number(step.value) * 1000;
          const { fromMs, toMs } = span();
          try {
            await start({
              kind: analysis.kind,
              query: query.value.trim(),
              start_ms: Math.floor(fromMs / stepMs) * stepMs,
              end_ms: Math.floor(toMs / stepMs) * stepMs,
              step_ms: stepMs,
              params: Object.fromEntries(
                parameters.map((parameter) => [parameter.name, valueOf(event.target, parameter)]),
              ),
            });
          } catch (error) {
            trouble.textContent = error.message;
          } finally {
            submit.disabled = false;
          }
        },
      },
    },
    el("div", { class: "form-head" }, el("h2", {}, analysis.title), el("p", { class: "quiet" }, analysis.description)),
    el("label", { class: "field" }, el("span", {}, "Query"), query),
    el(
      "div",
      { class: "fields" },
      el("label", { class: "field" }, el("span", {}, "Range"), range),
      el("label", { class: "field" }, el("span", {}, "Step"), step),
      parameters.slice(0, 2).map(parameterField),
    ),
    parameters.length > 2 &&
      el(
        "details",
        {},
        el("summary", {}, "More settings"),
        el("div", { class: "fields" }, parameters.slice(2).map(parameterField)),
      ),
    trouble,
    el("div", { class: "form-actions" }, submit, el("a", { class: "button plain", href: "#/analysis" }, "Cancel")),
  );
}

/** One input for one parameter, as its kind describes it. */
function parameterField(parameter) {
  const name = `param-${parameter.name}`;
  const words = parameter.name.replaceAll("_", " ");
  const note = el("span", { class: "field-note" }, parameter.description ?? "");
  switch (parameter.type) {
    case "boolean":
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el(
          "span",
          { class: "check" },
          el("input", { type: "checkbox", name, checked: parameter.default === true }),
          parameter.description ?? "",
        ),
      );
    case "choice":
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el(
          "select",
          { class: "select wide", name },
          (parameter.choices ?? []).map((choice) =>
            el("option", { value: choice, selected: choice === parameter.default }, choice),
          ),
        ),
        note,
      );
    case "number":
    case "integer":
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el("input", {
          class: "input",
          type: "number",
          name,
          required: true,
          value: String(parameter.default),
          step: parameter.type === "integer" ? "1" : "any",
          ...(parameter.minimum === undefined
            ? {}
            : { min: String(parameter.minimum), max: String(parameter.maximum) }),
        }),
        note,
      );
    default:
      return el(
        "label",
        { class: "field" },
        el("span", {}, words),
        el("input", { class: "input", name, value: String(parameter.default ?? ""), required: true }),
        note,
      );
  }
}

function valueOf(form, parameter) {
  const input = form.elements[`param-${parameter.name}`];
  if (parameter.type === "boolean") return input.checked;
  return parameter.type === "number" || parameter.type === "integer" ? Number(input.value) : input.value;
}
