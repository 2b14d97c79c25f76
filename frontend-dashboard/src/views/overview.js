/** Overview: the hub and its host, live, from the first second. */

import { listenToCharts } from "../app.js";
import { el, setText } from "../dom.js";
import { HealthStrip } from "../elements/health_strip.js";
import { Panel } from "../elements/panel.js";
import { RangeBar, rangeKey } from "../elements/range_bar.js";
import { viewHead } from "../elements/shell.js";
import { StatTile } from "../elements/stat_tile.js";
import { duration } from "../format/units.js";
import { SECTIONS, TILES } from "./overview_specs.js";

export class OverviewView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #range = null;

  connectedCallback() {
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    this.#range = this.app.bindRange({ from: "now-15m", to: "now", refreshS: 5 }, signal);
    const { pageRange } = this.#range;
    const { prometheus } = this.app;
    listenToCharts(this, pageRange, signal);
    const bar = new RangeBar();
    bar.pageRange = pageRange;
    const verdict = el("span", { class: "verdict", role: "status" });
    const age = el("span", { class: "verdict-age" });
    this.addEventListener(
      "coh-health",
      ({ detail: { state, words, ageS } }) => {
        setText(verdict, words); // a live region: spoken when it changes
        verdict.dataset.state = state;
        setText(age, ageS === null || state === "none" ? "" : `checked ${duration(ageS)} ago`);
      },
      { signal },
    );
    this.replaceChildren(
      viewHead("Overview", [verdict, " ", age], bar),
      new HealthStrip().setup({ prometheus, pageRange }),
      el(
        "div",
        { class: "stats" },
        TILES.map((spec) => new StatTile().setup({ spec, prometheus, pageRange })),
      ),
      ...SECTIONS.map(([title, specs]) =>
        el(
          "section",
          { class: "section" },
          el("h2", { class: "section-title" }, title),
          el(
            "div",
            { class: "grid" },
            specs.map((spec) => this.#panel(spec, pageRange)),
          ),
        ),
      ),
    );
  }

  #panel(spec, pageRange) {
    const panel = new Panel().setup({ spec, prometheus: this.app.prometheus, pageRange });
    const { range } = pageRange;
    panel.actions.append(
      el(
        "a",
        {
          class: "panel-link",
          title: "Open in Explore",
          "aria-label": `Open ${spec.title} in Explore`,
          href: `#/explore?${new URLSearchParams({ q: spec.queries[0].query, from: range.from, to: range.to })}`,
        },
        "Explore",
      ),
    );
    return panel;
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  routeChanged() {
    this.#range.adopt();
  }

  key(event) {
    return rangeKey(event, this.#range.pageRange);
  }
}
