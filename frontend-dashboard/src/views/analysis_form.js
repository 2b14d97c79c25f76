/** The form of a new analysis: its kind, query, range, step and the parameters that aps describes. */

import { el, fill } from "../dom.js";
import { markedQuery } from "../elements/states.js";
import { shortTime } from "../format/time.js";
import { duration } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { stepChoices } from "../state/jobs.js";
import { errorOffset } from "../state/query.js";
import { parameterOf, wordsOf } from "../state/results.js";
import { PRESETS, resolve } from "../state/time_range.js";
import { choice, field } from "./settings/section.js";

const SHOWN_AT_ONCE = 4;

/**
 * @param {object[]} analyses as aps describes them
 * @param {Record<"kind"|"q"|"from"|"to"|"step"|"with", string>} params of the URL, none needed; `with`: the kind's
 * parameters as JSON
 * @param {object} acts
 * @param {(kind: string) => void} acts.choose another kind was chosen
 * @param {(submission: object) => Promise<void>} acts.start what it throws is told in the form
 */
export function analysisForm(analyses, params, { choose, start }) {
  const chosen = () => analyses.find(({ kind }) => kind === kinds.value);
  const { kind: givenKind, with: given = "{}" } = params;
  const kinds = choice(
    {
      class: "select wide",
      name: "kind",
      on: {
        change: () => {
          choose(kinds.value);
          drawKind();
        },
      },
    },
    analyses.map(({ kind, title }) => [kind, title]),
    params.kind,
  );
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
  const wanted = { from: params.from ?? "now-24h", to: params.to ?? "now" };
  const presets = PRESETS.map(([length, words]) => [`now-${length}`, `last ${words}`]);
  const exact = resolve(wanted, hubClock.now()) ?? resolve({ from: "now-24h", to: "now" }, hubClock.now());
  const isPreset = wanted.to === "now" && presets.some(([from]) => from === wanted.from);
  const range = choice(
    { class: "select wide", name: "range", on: { change: () => fillSteps() } },
    isPreset ? presets : [["", `${shortTime(exact.fromMs)} – ${shortTime(exact.toMs)}`], ...presets],
    isPreset ? wanted.from : "",
  );
  const step = el("select", { class: "select wide", name: "step" });
  const span = () => (range.value ? resolve({ from: range.value, to: "now" }, hubClock.now()) : exact);
  const fillSteps = () => {
    const { choices, best } = stepChoices(span());
    const first = !range.value && choices.includes(Number(params.step)) ? Number(params.step) : best;
    fill(
      step,
      choices.map((seconds) =>
        el("option", { value: String(seconds), selected: seconds === first }, duration(seconds)),
      ),
    );
  };
  fillSteps();
  const about = el("div", { class: "form-head" });
  const inputs = el("div", { class: "stack" });
  const drawKind = () => {
    const { title, description, parameters } = chosen();
    const values = kinds.value === givenKind ? JSON.parse(given) : {};
    const all = parameters.map((parameter) => ({ ...parameter, default: valueGiven(parameter, values) }));
    fill(about, el("h2", {}, title), el("p", { class: "quiet" }, description));
    const rest = all.slice(SHOWN_AT_ONCE);
    fill(
      inputs,
      el("div", { class: "fields" }, all.slice(0, SHOWN_AT_ONCE).map(parameterField)),
      rest.length > 0 &&
        el("details", {}, el("summary", {}, "More settings"), el("div", { class: "fields" }, rest.map(parameterField))),
    );
  };
  drawKind();
  const trouble = el("div", { role: "alert" });
  const place = el("div", { class: "stack", role: "alert" });
  const submit = el("button", { type: "submit", class: "button primary" }, "Start");
  async function send(event) {
    event.preventDefault();
    fill(trouble);
    fill(place);
    query.removeAttribute("aria-invalid");
    submit.disabled = true;
    const stepMs = Number(step.value) * 1000;
    const { fromMs, toMs } = span();
    try {
      await start({
        kind: kinds.value,
        query: query.value.trim(),
        start_ms: Math.floor(fromMs / stepMs) * stepMs,
        end_ms: Math.floor(toMs / stepMs) * stepMs,
        step_ms: stepMs,
        params: Object.fromEntries(
          chosen().parameters.map((parameter) => [parameter.name, valueOf(event.target, parameter)]),
        ),
      });
    } catch (error) {
      const at = error.position ?? errorOffset(error.message, query.value.trim());
      fill(at === null ? trouble : place, el("p", { class: "form-trouble" }, error.message));
      if (at === null) return;
      query.setAttribute("aria-invalid", "true");
      place.prepend(markedQuery(query.value.trim(), at));
      query.focus();
    } finally {
      submit.disabled = false;
    }
  }
  return el(
    "form",
    { class: "card stack job-form", on: { submit: send } },
    about,
    field("Analysis", kinds),
    field("Query", query),
    place,
    el("div", { class: "fields" }, field("Range", range), field("Step", step)),
    inputs,
    trouble,
    el("div", { class: "form-actions" }, submit, el("a", { class: "button plain", href: "#/analysis" }, "Cancel")),
  );
}

const PLACEHOLDERS = { duration: "such as 6h", labels: "zone, service" };

/** What the input of a parameter holds first: a length of time as text; a moment is not carried over. */
function valueGiven({ name, type, default: usual }, { [name]: value }) {
  if (type === "time" || value === undefined || value === null) return usual;
  return type !== "duration" ? value : value % 3_600_000 ? `${value / 60_000}m` : `${value / 3_600_000}h`;
}

/** One input for one parameter, as its type describes it. */
function parameterField(parameter) {
  const { name, title, type, description = "", choices = [], minimum, maximum } = parameter;
  const words = title ?? wordsOf(name);
  const named = { name: `param-${name}` };
  const value = Array.isArray(parameter.default) ? parameter.default.join(", ") : String(parameter.default ?? "");
  const note = el("span", { class: "field-note" }, description);
  if (type === "boolean") {
    const box = el("input", { type: "checkbox", ...named, checked: parameter.default === true });
    return field(words, el("span", { class: "check" }, box, description));
  }
  const isNumber = type === "number" || type === "integer";
  const control =
    type === "choice"
      ? choice(
          { class: "select wide", ...named },
          choices.map((one) => [one, one]),
          value,
        )
      : el("input", {
          class: "input",
          autocomplete: "off",
          ...named,
          type: isNumber ? "number" : type === "time" ? "datetime-local" : "text",
          placeholder: PLACEHOLDERS[type] ?? "",
          required: value !== "",
          value,
          ...(isNumber && { step: type === "integer" ? "1" : "any" }),
          ...(isNumber && minimum !== undefined && { min: String(minimum), max: String(maximum) }),
          ...(type === "text" && maximum > 0 && { maxLength: maximum }),
        });
  return field(words, [control, note]);
}

function valueOf(form, parameter) {
  const input = form.elements[`param-${parameter.name}`];
  return parameter.type === "boolean" ? input.checked : parameterOf(parameter, input.value);
}
