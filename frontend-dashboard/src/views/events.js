/** Events: what the watches noticed, those that last first; acknowledged, silenced, opened in Explore. */

import { el, fill } from "../dom.js";
import { menu } from "../elements/popover.js";
import { viewHead } from "../elements/shell.js";
import { emptyState } from "../elements/states.js";
import { fullTime, relativeTime, shortTime } from "../format/time.js";
import { duration } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { causeWords, placeOf } from "../state/events.js";
import { fullName } from "../state/query.js";
import { formatHash } from "../state/url.js";
import { card, choice, field, refreshing, section, textInput } from "./settings/section.js";
import { NO_WATCH, watchSections } from "./watches.js";

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
    fill(this.#body, shown === 1 ? watchSections(this.app, this.#ended.signal) : this.#feed(this.#ended.signal));
  }

  #ask(path, request = {}) {
    return this.app.client.service("aps", `/api/v1/${path}`, request);
  }

  #post(path, json) {
    return this.#ask(path, { method: "POST", json });
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
              watches.length === 0 ? NO_WATCH : `${watches.length} watches look at what comes in.`,
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
    refreshing(feed, signal);
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

  #event(event, query, part) {
    const { start_ms: startMs, end_ms: endMs } = event;
    const isOpen = endMs === null;
    const isMine = event.acknowledged_by === this.app.session.user.id;
    const named = (words) => ({ "aria-label": `${words}: ${event.text}, ${fullTime(startMs)}` });
    const button = (words, act) => el("button", { class: "button small", ...named(words), on: { click: act } }, words);
    const acknowledge = () =>
      part.change(() => this.#post(`events/${encodeURIComponent(event.id)}/ack`, {}), "Acknowledged");
    const silence = (forMs) =>
      part.change(
        () =>
          this.#post("silences", {
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
        event.acknowledged_by &&
          ` · acknowledged ${isMine ? "by you " : ""}${relativeTime(Date.parse(event.acknowledged_at))}`,
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
          menu(button("Silence"), "Silence", SILENCES, silence),
        ],
      ),
    );
  }
}
