/** Overview: the hub and its host, live, from the first second. */

import { listenToCharts } from "../app.js";
import { el } from "../dom.js";
import { HealthStrip } from "../elements/health_strip.js";
import { Panel } from "../elements/panel.js";
import { RangeBar, rangeKey } from "../elements/range_bar.js";
import { viewHead } from "../elements/shell.js";
import { StatTile } from "../elements/stat_tile.js";
import { duration } from "../format/units.js";

const NODE = 'job="node"';
const ROUTES = 'route!~"/health|/ready|/metrics"';
const REAL_FS = `${NODE},fstype!~"tmpfs|ramfs|overlay|squashfs|devtmpfs|efivarfs|autofs"`;
const CPU_S = "node_cpu_seconds_total";
const IDLE = `sum(rate(${CPU_S}{${NODE},mode="idle"}[$__rate_interval]))`;
const BUSY = `1 - ${IDLE} / sum(rate(${CPU_S}{${NODE}}[$__rate_interval]))`;
const CPU_BY_MODE = `sum by (mode) (rate(${CPU_S}{${NODE},mode!="idle"}[$__rate_interval]))`;
const CPUS = `count(count by (cpu) (${CPU_S}{${NODE}}))`;
const LATENCY_BUCKETS = `cloudopshub_http_request_duration_seconds_bucket{${ROUTES}}`;
const DISK_FREE = `node_filesystem_avail_bytes{${REAL_FS}} / node_filesystem_size_bytes{${REAL_FS}}`;
const MEMORY_USED = `1 - node_memory_MemAvailable_bytes{${NODE}} / node_memory_MemTotal_bytes{${NODE}}`;

export const TILES = [
  { title: "CPU", query: BUSY, unit: "ratio", top: 1, warnAt: 0.8, badAt: 0.95, note: "of all cores" },
  { title: "Memory", query: MEMORY_USED, unit: "ratio", top: 1, warnAt: 0.85, badAt: 0.95, note: "in use" },
  {
    title: "Fullest disk",
    query: `max(1 - node_filesystem_avail_bytes{${REAL_FS}} / node_filesystem_size_bytes{${REAL_FS}})`,
    unit: "ratio",
    top: 1,
    warnAt: 0.85,
    badAt: 0.95,
    note: "in use",
  },
  {
    title: "Ingest",
    query: 'sum(rate(cloudopshub_ingest_samples_total{outcome="accepted"}[$__rate_interval]))',
    unit: "none",
    note: "samples a second",
  },
  {
    title: "Requests",
    query: `sum(rate(cloudopshub_http_requests_total{${ROUTES}}[$__rate_interval]))`,
    unit: "per_second",
    note: "all services",
  },
  {
    title: "Failures",
    query: `sum(rate(cloudopshub_http_requests_total{status=~"5.."}[$__rate_interval])) or vector(0)`,
    unit: "per_second",
    warnAt: 1e-9,
    badAt: 1,
    note: "answers 5xx",
  },
];

export const SECTIONS = [
  [
    "The hub",
    [
      {
        title: "Ingest",
        hint: "samples a second",
        queries: [{ query: "sum by (protocol, outcome) (rate(cloudopshub_ingest_samples_total[$__rate_interval]))" }],
        unit: "none",
        zeroBased: true,
        empty: "Samples that arrive are counted here.",
      },
      {
        title: "Requests",
        hint: "by service",
        queries: [{ query: `sum by (service) (rate(cloudopshub_http_requests_total{${ROUTES}}[$__rate_interval]))` }],
        unit: "per_second",
        zeroBased: true,
      },
      {
        title: "Latency",
        hint: "95 of 100 requests are faster",
        queries: [
          {
            query: `histogram_quantile(0.95, sum by (service, le) (rate(${LATENCY_BUCKETS}[$__rate_interval])))`,
          },
        ],
        unit: "seconds",
        zeroBased: true,
      },
      {
        title: "Memory of the services",
        hint: "resident",
        queries: [
          { query: "sum by (service) (cloudopshub_process_resident_memory_bytes)" },
          { query: 'sum by (job) (process_resident_memory_bytes{job!="node"})' },
        ],
        unit: "bytes",
        zeroBased: true,
        distinct: true,
      },
    ],
  ],
  [
    "The host",
    [
      {
        title: "CPU",
        hint: "by mode, all cores = 100 %",
        queries: [
          {
            query: `${CPU_BY_MODE} / on () group_left () ${CPUS}`,
          },
        ],
        unit: "ratio",
        stacked: true,
        top: 1,
      },
      {
        title: "Memory",
        hint: "of the host",
        queries: [
          { query: `node_memory_MemTotal_bytes{${NODE}} - node_memory_MemAvailable_bytes{${NODE}}`, name: "used" },
          {
            query: `node_memory_MemAvailable_bytes{${NODE}} - node_memory_MemFree_bytes{${NODE}}`,
            name: "cache, given back when asked for",
          },
          { query: `node_memory_MemFree_bytes{${NODE}}`, name: "free" },
        ],
        unit: "bytes",
        stacked: true,
      },
      {
        title: "Load",
        hint: "runnable processes",
        queries: [
          { query: `node_load1{${NODE}}`, name: "1 min" },
          { query: `node_load5{${NODE}}`, name: "5 min" },
          { query: `node_load15{${NODE}}`, name: "15 min" },
        ],
        unit: "none",
        zeroBased: true,
      },
      {
        title: "Disk space",
        hint: "used, by mount",
        queries: [
          {
            query: `max by (mountpoint) (1 - ${DISK_FREE})`,
          },
        ],
        unit: "ratio",
        zeroBased: true,
        top: 1,
      },
      {
        title: "Disk traffic",
        hint: "read above, written below",
        queries: [
          { query: `sum by (device) (rate(node_disk_read_bytes_total{${NODE}}[$__rate_interval]))`, name: "read" },
          {
            query: `sum by (device) (rate(node_disk_written_bytes_total{${NODE}}[$__rate_interval]))`,
            name: "written",
            negate: true,
          },
        ],
        unit: "bytes_per_s",
      },
      {
        title: "Network",
        hint: "received above, sent below",
        queries: [
          {
            query: `sum by (device) (rate(node_network_receive_bytes_total{${NODE},device!="lo"}[$__rate_interval]))`,
            name: "received",
          },
          {
            query: `sum by (device) (rate(node_network_transmit_bytes_total{${NODE},device!="lo"}[$__rate_interval]))`,
            name: "sent",
            negate: true,
          },
        ],
        unit: "bytes_per_s",
      },
    ],
  ],
];

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
        if (verdict.textContent !== words) verdict.textContent = words; // a live region: spoken when it changes
        verdict.dataset.state = state;
        age.textContent = ageS === null || state === "none" ? "" : `checked ${duration(ageS)} ago`;
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
