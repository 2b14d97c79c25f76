/** `<coh-range-bar>`: which time a page shows, how often it refreshes, and the way back from a zoom. */

import { el, icon, setText } from "../dom.js";
import { clockTime, fullTime, shortTime } from "../format/time.js";
import { hubClock } from "../state/clock.js";
import { REFRESH_CHOICES_S, liveness } from "../state/page_range.js";
import { PRESETS, isRelative, parseBound, presetLabel, resolve } from "../state/time_range.js";
import { popover } from "./popover.js";

export class RangeBar extends HTMLElement {
  #pageRange = null;
  #ended = null;
  #label = el("span", { class: "range-label" });
  #live = el("span", { class: "live", role: "status" });
  #back = el(
    "button",
    {
      class: "button icon-only",
      title: "Back to the range before (Backspace)",
      "aria-label": "Back to the range before",
      on: { click: () => this.#pageRange.back() },
    },
    icon("back"),
  );
  #refresh = el(
    "select",
    {
      class: "select",
      "aria-label": "Refresh",
      title: "How often the page refreshes",
      on: {
        change: (event) => {
          this.#pageRange.refreshS = Number(event.target.value);
        },
      },
    },
    REFRESH_CHOICES_S.map((seconds) =>
      el(
        "option",
        { value: String(seconds) },
        seconds === 0 ? "Off" : seconds < 60 ? `${seconds} s` : `${seconds / 60} min`,
      ),
    ),
  );

  /** @param {import("../state/page_range.js").PageRange} pageRange */
  set pageRange(pageRange) {
    this.#pageRange = pageRange;
  }

  connectedCallback() {
    this.classList.add("range-bar");
    const opener = el("button", { class: "button", title: "Time range" }, icon("clock"), this.#label, icon("chevron"));
    this.replaceChildren(
      this.#live,
      this.#back,
      popover(opener, (close) => this.#choices(close), { label: "Time range" }),
      el(
        "button",
        {
          class: "button icon-only",
          title: "Zoom out (-)",
          "aria-label": "Zoom out",
          on: { click: () => this.#pageRange.zoomBy(2) },
        },
        icon("zoomOut"),
      ),
      el(
        "div",
        { class: "joined" },
        el(
          "button",
          {
            class: "button icon-only",
            title: "Refresh now (r)",
            "aria-label": "Refresh now",
            on: { click: () => this.#pageRange.refresh() },
          },
          icon("refresh"),
        ),
        this.#refresh,
      ),
    );
    this.#ended = new AbortController();
    for (const name of ["paint", "answer", "tick"])
      this.#pageRange.addEventListener(name, () => this.#paint(), { signal: this.#ended.signal });
    this.#paint();
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  #paint() {
    const { range, zone, live, refreshS, canGoBack } = this.#pageRange;
    const nowMs = hubClock.now();
    const span = resolve(range, nowMs);
    setText(
      this.#label,
      presetLabel(range) ??
        (isRelative(range)
          ? [range.from, range.to].map((at) => (/^\d+$/.test(at) ? shortTime(Number(at), zone) : at)).join(" to ")
          : `${shortTime(span.fromMs, zone)} – ${shortTime(span.toMs, zone)}`),
    );
    const { on, words } = liveness(this.#pageRange, nowMs, (ms) => clockTime(ms, zone));
    setText(this.#live, words);
    this.#live.classList.toggle("on", on);
    this.#live.title = live
      ? `Refreshes every ${refreshS} s`
      : refreshS === 0
        ? "Refresh is off"
        : "A fixed range does not move";
    this.#refresh.value = String(REFRESH_CHOICES_S.includes(refreshS) ? refreshS : 10);
    this.#back.hidden = !canGoBack;
  }

  #choices(close) {
    const { range, zone } = this.#pageRange;
    const span = this.#pageRange.span();
    const editable = (bound, ms) => (/^\d+$/.test(bound) ? localIso(ms) : bound);
    const from = el("input", {
      class: "input mono",
      value: editable(range.from, span.fromMs),
      "aria-label": "From",
      spellcheck: false,
    });
    const to = el("input", {
      class: "input mono",
      value: editable(range.to, span.toMs),
      "aria-label": "To",
      spellcheck: false,
    });
    const note = el("p", { class: "field-note" }, "now-6h, now-1d/d, or 2026-11-22 14:00");
    const form = el(
      "form",
      {
        class: "stack",
        on: {
          submit: (event) => {
            event.preventDefault();
            const nowMs = hubClock.now();
            const wanted = { from: normal(from.value, nowMs), to: normal(to.value, nowMs) };
            if (!resolve(wanted, nowMs)) {
              note.textContent =
                parseBound(from.value, nowMs) === null
                  ? "The start cannot be read."
                  : parseBound(to.value, nowMs) === null
                    ? "The end cannot be read."
                    : "The end must be after the start.";
              note.classList.add("bad");
              return;
            }
            close();
            this.#pageRange.set(wanted);
          },
        },
      },
      el("label", { class: "field" }, el("span", {}, "From"), from),
      el("label", { class: "field" }, el("span", {}, "To"), to),
      note,
      el("button", { class: "button primary", type: "submit" }, "Apply"),
    );
    const presets = el(
      "div",
      { class: "presets" },
      PRESETS.map(([length, words]) =>
        el(
          "button",
          {
            class: range.to === "now" && range.from === `now-${length}` ? "preset on" : "preset",
            on: {
              click: () => {
                close();
                this.#pageRange.set({ from: `now-${length}`, to: "now" });
              },
            },
          },
          words,
        ),
      ),
    );
    const zones = el(
      "div",
      { class: "segmented", role: "group", "aria-label": "Time zone" },
      ["local", "utc"].map((name) =>
        el(
          "button",
          {
            "aria-pressed": String(zone === name),
            on: {
              click: () => {
                close();
                this.#pageRange.zone = name;
              },
            },
          },
          name === "local" ? "Browser time" : "UTC",
        ),
      ),
    );
    return el(
      "div",
      { class: "range-choices" },
      el("div", {}, el("p", { class: "eyebrow" }, "Last"), presets),
      el(
        "div",
        { class: "stack" },
        el("p", { class: "eyebrow" }, "Fixed or relative"),
        form,
        el("p", { class: "eyebrow" }, "Time zone"),
        zones,
        el("p", { class: "field-note" }, `Now showing ${fullTime(span.fromMs, zone)} to ${fullTime(span.toMs, zone)}`),
      ),
    );
  }
}

function localIso(ms) {
  const date = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return date.toISOString().slice(0, 19).replace("T", " ");
}

function normal(text, nowMs) {
  const trimmed = text.trim();
  return trimmed.startsWith("now") ? trimmed : String(parseBound(trimmed, nowMs));
}

/** The keys every page with a range answers to; true when the event was one of them. */
export function rangeKey(event, pageRange) {
  switch (event.key) {
    case "+":
    case "=":
      pageRange.zoomBy(0.5);
      return true;
    case "-":
      pageRange.zoomBy(2);
      return true;
    case "Backspace":
      pageRange.back();
      return true;
    case "r":
      pageRange.refresh();
      return true;
    case "[":
      pageRange.panBy(-0.5);
      return true;
    case "]":
      pageRange.panBy(0.5);
      return true;
    default:
      return false;
  }
}
