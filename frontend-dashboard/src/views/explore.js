/** Explore: choose a metric or write a query, and look at it from every side. The URL holds all of it. */

import { toCsv } from "../api/matrix.js";
import { listenToCharts } from "../app.js";
import { copyText, download, el, fill, icon } from "../dom.js";
import { Panel } from "../elements/panel.js";
import { RangeBar, rangeKey } from "../elements/range_bar.js";
import { viewHead } from "../elements/shell.js";
import { emptyState } from "../elements/states.js";
import { duration } from "../format/units.js";
import { hubClock } from "../state/clock.js";
import { buildQuery, packFilters, unpackFilters } from "../state/query.js";
import { plan } from "../state/sampling.js";
import { packHidden, unpackHidden } from "../state/visibility.js";
import { formatHash } from "../state/url.js";
import { builderControls } from "./explore_builder.js";

const STARTERS = [
  ["Samples coming in", "sum by (protocol) (rate(cloudopshub_ingest_samples_total[$__rate_interval]))"],
  ["CPU by mode", 'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[$__rate_interval]))'],
  ["What is up", "up"],
];

export class ExploreView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #range = null;
  #panel = null;
  #metadata = {};
  #choice = { metric: "", filters: [], by: "" };
  #query = "";
  #box = el("textarea", {
    class: "input mono query-box",
    rows: 1,
    spellcheck: false,
    placeholder: "PromQL, for example rate(node_network_receive_bytes_total[1m])",
    "aria-label": "Query",
    "data-search": "primary",
    on: {
      input: () => this.#grow(),
      keydown: (event) => {
        if (event.key === "Enter" && !event.shiftKey) {
          event.preventDefault();
          this.#run(this.#box.value.trim(), { byHand: true });
        } else if (event.key === "Escape") this.#box.blur();
      },
    },
  });
  #builder = el("div", { class: "builder" });
  #about = el("p", { class: "metric-about" });
  #stage = el("div", { class: "explore-stage" });
  #facts = el("span", { class: "facts" }); // not a live region: it changes at each refresh

  connectedCallback() {
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    this.#range = this.app.bindRange({ from: "now-1h", to: "now", refreshS: 10 }, signal);
    listenToCharts(this, this.#range.pageRange, signal);
    const bar = new RangeBar();
    bar.pageRange = this.#range.pageRange;
    this.replaceChildren(
      viewHead("Explore", "", bar),
      el(
        "section",
        { class: "card query-card" },
        this.#builder,
        el(
          "div",
          { class: "query-row" },
          this.#box,
          el(
            "button",
            {
              class: "button primary",
              on: { click: () => this.#run(this.#box.value.trim(), { byHand: true }) },
            },
            "Run",
          ),
        ),
        this.#about,
      ),
      this.#stage,
    );
    this.addEventListener(
      "coh-loaded",
      ({ detail }) => {
        const each = duration(detail.step);
        const took = duration(detail.elapsedMs / 1000);
        this.#facts.textContent = `${detail.series} series · one point each ${each} · ${took}`;
        const { hide, only } = this.app.route.params;
        if ((hide || only) && this.#panel.hiddenKeys.size === 0)
          this.#panel.hiddenKeys = unpackHidden({ hide, only }, this.#panel.keys);
      },
      { signal },
    );
    this.addEventListener(
      "coh-hidden",
      () => this.app.setParams(packHidden(this.#panel.hiddenKeys, this.#panel.keys)),
      { signal },
    );
    this.#fromUrl();
    this.#loadMetadata(signal);
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  routeChanged() {
    this.#range.adopt();
    this.#fromUrl();
  }

  key(event) {
    return rangeKey(event, this.#range.pageRange);
  }

  #fromUrl() {
    const { q = "", m = "", f = "", by = "" } = this.app.route.params;
    this.#choice = { metric: m, filters: unpackFilters(f), by };
    this.#drawBuilder();
    if (q !== this.#query || !this.#stage.firstChild) this.#show(q);
  }

  async #loadMetadata(signal) {
    try {
      this.#metadata = await this.app.prometheus.metadata(signal);
      this.#drawAbout();
    } catch {
      // types and help are a comfort: names say most of it
    }
  }

  #type(metric) {
    const base = metric.replace(/_(?:bucket|sum|count|total)$/, "");
    return (this.#metadata[metric] ?? this.#metadata[base])?.[0] ?? { type: "", help: "", unit: "" };
  }

  /** Runs `query`; written by hand, it no longer is what the choices say. */
  #run(query, { byHand = false } = {}) {
    if (byHand && query !== this.#query) {
      this.#choice = { metric: "", filters: [], by: "" };
      this.#drawBuilder();
    }
    const { metric, filters, by } = this.#choice;
    const again = query === this.#query;
    this.app.setParams({ q: query, m: metric, f: packFilters(filters), by, hide: "", only: "" }, { push: !again });
    if (again) this.#range.pageRange.refresh();
    else this.#show(query);
  }

  #choose(changes) {
    if (!this.isConnected) return; // a list's late answer; the person has left
    this.#choice = { ...this.#choice, ...changes };
    this.#drawBuilder();
    const { metric, filters, by } = this.#choice;
    if (!metric && filters.length === 0) return;
    this.#run(buildQuery({ metric, filters: filters.filter(({ label }) => label), by, type: this.#type(metric).type }));
  }

  #drawBuilder() {
    fill(
      this.#builder,
      builderControls({
        current: () => this.#choice,
        prometheus: this.app.prometheus,
        span: () => this.#range.pageRange.span(),
        typeOf: (name) => this.#type(name).type,
        choose: (changes) => this.#choose(changes),
        addFilter: () => this.#addFilter(),
        setFilter: (index, change) => this.#setFilter(index, change),
      }),
    );
    this.#drawAbout();
  }

  #addFilter() {
    this.#choice = { ...this.#choice, filters: [...this.#choice.filters, { label: "", op: "=", value: "" }] };
    this.#drawBuilder();
    this.#builder.querySelector(".filter-chip:last-of-type input")?.focus();
  }

  #setFilter(index, change) {
    const filters = this.#choice.filters.map((filter, at) => (at === index ? { ...filter, ...change } : filter));
    if (filters[index].label && filters[index].value !== "") {
      this.#choose({ filters });
      return;
    }
    this.#choice = { ...this.#choice, filters };
    this.#drawBuilder();
    if (filters[index].label)
      this.#builder.querySelectorAll(".filter-chip")[index]?.querySelectorAll("input")[1]?.focus();
  }

  #drawAbout() {
    const { metric } = this.#choice;
    const { type, help } = metric ? this.#type(metric) : { type: "", help: "" };
    fill(this.#about, type && el("span", { class: "tag" }, type), help);
    this.#about.hidden = !type && !help;
  }

  #grow() {
    this.#box.style.height = "auto";
    this.#box.style.height = `${Math.min(this.#box.scrollHeight + 2, 200)}px`;
  }

  #show(query) {
    this.#query = query;
    if (this.#box.value.trim() !== query) this.#box.value = query;
    this.#grow();
    this.#facts.textContent = "";
    if (!query) {
      this.#panel = null;
      fill(
        this.#stage,
        el(
          "div",
          { class: "card" },
          emptyState(
            "Choose a metric or write a query",
            "Search by any part of a name; counters become rates, histograms a 95th percentile.",
            ...STARTERS.map(([words, text]) =>
              el("button", { class: "button", on: { click: () => this.#run(text, { byHand: true }) } }, words),
            ),
          ),
        ),
      );
      return;
    }
    const spec = {
      title: "Result",
      queries: [{ query }],
      declaredUnit: this.#type(this.#choice.metric).unit,
      empty: "No series matches, or nothing was sent in this time.",
    };
    if (this.#panel) {
      this.#panel.hiddenKeys = new Set();
      this.#panel.spec = spec;
      return;
    }
    this.#panel = new Panel().setup({
      spec,
      prometheus: this.app.prometheus,
      pageRange: this.#range.pageRange,
      legend: "table",
    });
    this.#panel.classList.add("panel-large");
    const action = (name, words, act) =>
      el(
        "button",
        { class: "button icon-only plain", title: words, "aria-label": words, on: { click: act } },
        icon(name),
      );
    this.#panel.actions.append(
      this.#facts,
      this.app.can("analysis:run")
        ? el(
            "button",
            { class: "button plain small", on: { click: () => this.#analyse() } },
            icon("analysis"),
            "Find anomalies",
          )
        : "",
      action("share", "Copy the link to exactly this", async () => {
        const { fromMs, toMs } = this.#range.pageRange.span();
        const link = new URL(location.href);
        const mark = link.hash.indexOf("?");
        const params = new URLSearchParams(mark < 0 ? "" : link.hash.slice(mark + 1));
        params.set("from", String(Math.round(fromMs)));
        params.set("to", String(Math.round(toMs)));
        link.hash = `#/explore?${params}`;
        this.app.toast((await copyText(link.href)) ? "Link copied" : link.href);
      }),
      action("copy", "Copy as curl", async () =>
        this.app.toast((await copyText(this.#curl())) ? "Copied as curl" : "The browser did not allow copying", {}),
      ),
      action("download", "Download as CSV", () => {
        if (this.#panel.table) download("cloudopshub.csv", toCsv(this.#panel.table, this.#panel.names), "text/csv");
      }),
    );
    fill(this.#stage, this.#panel);
  }

  /** What the chart shows, as das was asked for it; before its first answer, as it would be. */
  #asked() {
    return this.#panel.asked ?? plan(this.#query, this.#range.pageRange.span(), hubClock.now());
  }

  #analyse() {
    const { query } = this.#asked();
    const { from, to } = this.#range.pageRange.range;
    this.app.go(formatHash({ path: ["analysis"], params: { q: query, from, to, new: "1" } }));
  }

  #curl() {
    const { query, points } = this.#asked();
    const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    return [
      `curl -sS ${location.origin}/api/data-api-service/api/v1/query_range`,
      '  -H "Authorization: Bearer $CLOUDOPSHUB_KEY"',
      `  --data-urlencode ${shell(`query=${query}`)}`,
      `  -d start=${points.start} -d end=${points.end} -d step=${points.step}`,
    ].join(" \\\n");
  }
}
