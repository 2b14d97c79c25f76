/** Events: what the watches noticed, those that last first; the watches themselves, and what is silenced. */

import { el, fill, wait } from "../dom.js";
import { row, table } from "../elements/data_table.js";
import { confirmed } from "../elements/dialog.js";
import { popover } from "../elements/popover.js";
import { viewHead } from "../elements/shell.js";
import { emptyState } from "../elements/states.js";
import { fullTime, relativeTime, shortTime } from "../format/time.js";
import { duration } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { causeWords, placeOf } from "../state/events.js";
import { fullName } from "../state/query.js";
import { formatHash } from "../state/url.js";
import { card, choice, dangerButton, field, form, section, textInput } from "./settings/section.js";

const POLL_MS = 10_000;
const PAGE = 50;
const OPEN_MAX = 500;
const KINDS = ["spike", "shift", "drift", "stuck", "missing", "spread", "rhythm", "pattern"];
const STATES = [
  ["", "open and over"],
  ["open", "open"],
  ["closed", "over"],
  ["silenced", "silenced too"],
];
const SILENCES = [
  [3_600_000, "for an hour"],
  [28_800_000, "for 8 hours"],
  [86_400_000, "for a day"],
  [604_800_000, "for a week"],
];
const STEPS = [
  ["60000", "1 min"],
  ["300000", "5 min"],
  ["900000", "15 min"],
];
const PILLS = { watching: "succeeded", learning: "running", late: "failed", failing: "failed" };
const TABS = [
  ["", "Feed"],
  ["watches", "Watches"],
];

export class EventsView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #links = TABS.map(([name, words]) => el("a", { class: "tab", href: `#/events${name && `/${name}`}` }, words));
  #body = el("div", { class: "settings-body" });

  connectedCallback() {
    this.replaceChildren(
      viewHead("Events", "What the watches noticed"),
      el("nav", { class: "tabs", "aria-label": "Events" }, this.#links),
      this.#body,
    );
    this.routeChanged();
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  routeChanged() {
    this.#ended?.abort();
    this.#ended = new AbortController();
    const shown = this.app.route.path[1] === "watches" ? 1 : 0;
    this.#links.forEach((link, at) => {
      if (at === shown) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    fill(this.#body, shown === 1 ? this.#watches(this.#ended.signal) : this.#feed(this.#ended.signal));
  }

  #ask(path, request = {}) {
    return this.app.client.service("aps", `/api/v1/${path}`, request);
  }

  #send(method, path, json) {
    return this.#ask(path, { method, json });
  }

  // -- the feed

  #feed(signal) {
    const { app } = this;
    let older = PAGE;
    const controls = new Map();
    const changed = () => {
      older = PAGE;
      app.setParams(Object.fromEntries([...controls].map(([name, control]) => [name, control.value.trim()])));
      feed.reload();
    };
    const { params } = app.route;
    const select = (name, options) => choice({ on: { change: changed } }, options, params[name]);
    controls
      .set(
        "text",
        textInput({
          required: false,
          maxLength: 200,
          value: params.text ?? "",
          placeholder: "a label, or words",
          "data-search": "primary",
          on: { input: changed },
        }),
      )
      .set("kind", select("kind", [["", "every kind"], ...KINDS.map((kind) => [kind, kind])]))
      .set("state", select("state", STATES));
    const feed = section(app, "Feed", signal, async (part, ended) => {
      const [q, kind, state] = [...controls.values()].map(({ value }) => value.trim());
      const silenced = state === "silenced" || "";
      const page = (wanted, limit) =>
        state === "" || silenced || state === wanted
          ? this.#ask("events", { params: { state: wanted, q, kind, silenced, limit }, signal: ended })
          : { events: [], next: null };
      const [{ watches }, open, closed] = await Promise.all([
        this.#ask("watches", { signal: ended }),
        page("open", OPEN_MAX),
        page("closed", older),
      ]);
      const events = [...open.events, ...closed.events];
      if (events.length === 0)
        return q || kind || state
          ? emptyState("No event is like this")
          : emptyState(
              "Nothing noticed",
              watches.length === 0 ? "There is no watch yet." : `${watches.length} watches look at what comes in.`,
            );
      const queries = new Map(watches.map(({ id, query }) => [id, query]));
      const more = () => {
        older += PAGE;
        part.reload();
      };
      return [
        el(
          "ul",
          { class: "event-list" },
          events.map((event) => this.#event(event, queries.get(event.watch_id) ?? "", part)),
        ),
        closed.next &&
          older < OPEN_MAX &&
          el("button", { class: "button", "aria-label": "Show older", on: { click: more } }, "Show older"),
      ];
    });
    this.#refresh(feed, signal);
    const [find, kind, state] = controls.values();
    return [
      card(
        el(
          "div",
          { class: "row-form" },
          field("Find", find, { grow: true }),
          field("Kind", kind),
          field("State", state),
        ),
      ),
      feed.card,
    ];
  }

  /** The section is as it is now each few seconds, unless something in it is open. */
  async #refresh(part, signal) {
    try {
      for (;;) {
        await wait(POLL_MS, signal);
        if (!document.hidden && !part.card.querySelector(":popover-open")) await part.reload();
      }
    } catch {
      // the view was left
    }
  }

  #event(event, query, part) {
    const { start_ms: startMs, end_ms: endMs } = event;
    const isOpen = endMs === null;
    const named = (words) => ({ "aria-label": `${words}: ${event.text}, ${fullTime(startMs)}` });
    const button = (words, act) => el("button", { class: "button small", ...named(words), on: { click: act } }, words);
    const acknowledge = () =>
      part.change(() => this.#send("POST", `events/${encodeURIComponent(event.id)}/ack`, {}), "Acknowledged");
    const silence = (forMs) =>
      part.change(
        () =>
          this.#send("POST", "silences", {
            matchers: { ...event.labels, watch: event.watch, kind: event.kind },
            until: new Date(hubClock.now() + forMs).toISOString(),
          }),
        "Silenced",
      );
    return el(
      "li",
      { class: "event" },
      el(
        "div",
        { class: "event-top" },
        el("span", { class: `pill ${isOpen ? "failed" : ""}` }, isOpen ? "open" : "over"),
        el("span", { class: "tag" }, event.kind.replaceAll("_", " ")),
        el(
          "span",
          { class: "quiet", title: fullTime(startMs) },
          `since ${shortTime(startMs)}, `,
          isOpen ? relativeTime(startMs) : `for ${duration((endMs - startMs) / 1000)}`,
        ),
      ),
      el("p", { class: "event-text" }, event.text),
      el(
        "p",
        { class: "quiet wrap" },
        el("code", {}, fullName(event.labels)),
        ` · ${event.watch}`,
        event.because_of.length > 0 && ` · perhaps because of ${event.because_of.map(causeWords).join(", ")}`,
        event.acknowledged_by && ` · acknowledged by ${event.acknowledged_by}`,
        event.silenced_until && ` · silenced until ${shortTime(Date.parse(event.silenced_until))}`,
      ),
      el(
        "div",
        { class: "event-actions" },
        el(
          "a",
          {
            class: "button small",
            ...named("Open in Explore"),
            href: formatHash({ path: ["explore"], params: placeOf(event, query) }),
          },
          "Open in Explore",
        ),
        this.app.can("analysis:run") && [
          !event.acknowledged_by && button("Acknowledge", acknowledge),
          popover(
            button("Silence"),
            (close) =>
              el(
                "div",
                { class: "stack menu" },
                SILENCES.map(([forMs, words]) =>
                  el(
                    "button",
                    {
                      class: "menu-item",
                      on: {
                        click: () => {
                          close();
                          silence(forMs);
                        },
                      },
                    },
                    words,
                  ),
                ),
              ),
            { label: "Silence" },
          ),
        ],
      ),
    );
  }

  // -- the watches

  #watches(signal) {
    const { app } = this;
    const mayRun = app.can("analysis:run");
    const list = section(app, "Watches", signal, async (part, ended) => {
      const { watches } = await this.#ask("watches", { signal: ended });
      if (watches.length === 0) return emptyState("No watch yet", "A watch looks at a query all the time.");
      return table(
        ["Watch", "State", "Series", "Judged until", ""],
        watches.map((watch) => this.#watchRow(watch, part, mayRun)),
      );
    });
    const silences = section(app, "Silences", signal, async (part, ended) => {
      const { silences: all } = await this.#ask("silences", { signal: ended });
      if (all.length === 0) return el("p", { class: "quiet" }, "Nothing is silenced.");
      const end = ({ id }) => part.change(() => this.#send("DELETE", `silences/${id}`), "Ended");
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
    this.#refresh(list, signal);
    return [
      mayRun && card(el("h2", { class: "section-title" }, "New watch"), this.#watchForm(list)),
      list.card,
      silences.card,
    ];
  }

  #watchForm(list) {
    const make = async (values, sent) => {
      await this.#send("POST", "watches", {
        name: values.get("name"),
        query: values.get("query").trim(),
        step_ms: Number(values.get("step")),
        params: { sensitivity: Number(values.get("sensitivity")) },
      });
      this.app.toast("It watches from now on");
      sent.reset();
      list.reload();
    };
    return form(make, [
      field("Name", textInput({ name: "name", maxLength: 100 })),
      field("Query", textInput({ name: "query", class: "input mono", placeholder: "rate(http_requests_total[5m])" }), {
        grow: true,
      }),
      field("Each", choice({ name: "step" }, STEPS)),
      field(
        "Sensitivity",
        textInput({ name: "sensitivity", type: "number", min: "0", max: "1", step: "any", defaultValue: "0.5" }),
      ),
      el("button", { type: "submit", class: "button primary" }, "Watch"),
    ]);
  }

  #watchRow(watch, part, mayRun) {
    const path = `watches/${encodeURIComponent(watch.id)}`;
    const words = watch.enabled ? "Pause" : "Resume";
    const { name, query, step_ms, params, enabled } = watch;
    const turn = () =>
      part.change(() => this.#send("PUT", path, { name, query, step_ms, params, enabled: !enabled }), `${words}d`);
    const remove = () =>
      confirmed(`Delete “${watch.name}”?`, "Its events stay in the feed.", "Delete", () =>
        part.change(() => this.#send("DELETE", path), "Deleted"),
      );
    const state = watch.error ? "failing" : watch.state;
    const made = row(
      el(
        "div",
        {},
        watch.name,
        watch.created_by.startsWith("service:") && el("span", { class: "tag" }, "default"),
        el("code", { class: "quiet under wrap" }, watch.query),
      ),
      [
        "wrap",
        el(
          "div",
          {},
          el("span", { class: `pill ${PILLS[state] ?? ""}` }, state),
          watch.error && el("span", { class: "quiet under" }, watch.error),
        ),
      ],
      ["number", String(watch.series ?? "–")],
      ["quiet", watch.judged_until_ms ? relativeTime(watch.judged_until_ms) : "not yet"],
      [
        "end",
        mayRun && [
          el(
            "button",
            {
              class: "button small plain",
              "aria-label": `${words} ${watch.name}`,
              on: { click: turn },
            },
            words,
          ),
          dangerButton("Delete", remove),
        ],
      ],
    );
    made.classList.toggle("off", !watch.enabled);
    return made;
  }
}
