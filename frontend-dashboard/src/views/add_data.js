/** Add data: what to paste where, with a key made on the spot, and the first sample seen as it arrives. */

import { isAbort } from "../api/client.js";
import { toTable, summary } from "../api/matrix.js";
import { el, fill, icon, wait } from "../dom.js";
import { viewHead } from "../elements/shell.js";
import { snippet } from "../elements/snippet.js";
import { sparkPath } from "../elements/stat_tile.js";
import { format, unitOfMetric } from "../format/units.js";
import { clockTime } from "../format/time.js";
import { hubClock } from "../state/clock.js";
import { selector } from "../state/query.js";
import { grid } from "../state/sampling.js";
import {
  CURL_METRIC,
  KEY_PLACEHOLDER,
  curlSnippet,
  grafanaSnippet,
  otelSnippet,
  prometheusSnippet,
  telegrafSnippet,
  writeUrl,
} from "../state/snippets.js";
import { formatHash } from "../state/url.js";

const POLL_MS = 2000;
const LOOK_BACK_S = 120;
const NAMES_CAP = 8;

const AGENTS = [
  [
    "prometheus",
    "Prometheus",
    "Add this to prometheus.yml and reload. Everything it scrapes from then on arrives here too.",
    prometheusSnippet,
  ],
  [
    "otel",
    "OpenTelemetry",
    "The hub takes Prometheus remote write in this release, not OTLP yet: " +
      "let the collector translate with its prometheusremotewrite exporter.",
    otelSnippet,
  ],
  [
    "telegraf",
    "Telegraf",
    "Telegraf's http output speaks remote write with data_format prometheusremotewrite (Telegraf 1.22 and newer).",
    telegrafSnippet,
  ],
  [
    "curl",
    "curl",
    "One sample, made in this page for this moment: protobuf and snappy are already inside. " +
      "Copy it again for a new time.",
    (origin, key) => () => curlSnippet(origin, key, hubClock.now()),
  ],
  [
    "grafana",
    "Grafana",
    "The way back out: Grafana reads from the hub as from any Prometheus. The key needs to be allowed to read.",
    grafanaSnippet,
  ],
];

export class AddDataView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #agent = "prometheus";
  #keyBox = el("div", { class: "key-box" });
  #tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Agent" });
  #paste = el("div", { class: "paste", role: "tabpanel" });
  #arrival = el("section", { class: "card arrival", role: "status", "aria-live": "polite" });

  connectedCallback() {
    this.#ended = new AbortController();
    this.replaceChildren(
      viewHead("Add data", ""),
      el(
        "div",
        { class: "add" },
        el(
          "div",
          { class: "add-steps" },
          el(
            "section",
            { class: "card step" },
            el("h2", { class: "step-title" }, el("span", { class: "step-number" }, "1"), "A key for the agent"),
            this.#keyBox,
          ),
          el(
            "section",
            { class: "card step" },
            el(
              "h2",
              { class: "step-title" },
              el("span", { class: "step-number" }, "2"),
              "Paste it where the samples are",
            ),
            this.#tabs,
            this.#paste,
          ),
        ),
        this.#arrival,
      ),
    );
    this.routeChanged();
    this.#drawKey();
    this.#watch(this.#ended.signal);
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  routeChanged() {
    const { agent } = this.app.route.params;
    this.#agent = AGENTS.some(([name]) => name === agent) ? agent : "prometheus";
    this.#drawTabs();
  }

  #drawTabs() {
    fill(
      this.#tabs,
      AGENTS.map(([name, words]) =>
        el(
          "button",
          {
            type: "button",
            role: "tab",
            class: "tab",
            "aria-selected": String(name === this.#agent),
            tabIndex: name === this.#agent ? 0 : -1,
            on: {
              click: () => this.#pick(name),
              keydown: (event) => {
                const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
                if (!move) return;
                event.preventDefault();
                this.#pick(
                  AGENTS[(AGENTS.findIndex(([other]) => other === name) + move + AGENTS.length) % AGENTS.length][0],
                );
                this.#tabs.querySelector("[aria-selected=true]").focus();
              },
            },
          },
          words,
        ),
      ),
    );
    const [, words, text, make] = AGENTS.find(([name]) => name === this.#agent);
    fill(
      this.#paste,
      el("p", { class: "quiet" }, text),
      snippet(make(location.origin, this.app.agentKey?.key ?? KEY_PLACEHOLDER), `${words} configuration`),
      !this.app.agentKey &&
        el("p", { class: "field-note" }, `Make a key above and it stands here in place of ${KEY_PLACEHOLDER}`),
    );
  }

  #pick(name) {
    this.#agent = name;
    this.app.setParams({ agent: name === "prometheus" ? "" : name });
    this.#drawTabs();
  }

  #drawKey() {
    if (this.app.agentKey) {
      fill(
        this.#keyBox,
        el("p", { class: "quiet" }, "Shown this once. It is already in the snippet below."),
        snippet(this.app.agentKey.key, "API key"),
      );
      return;
    }
    if (!this.app.can("admin")) {
      fill(
        this.#keyBox,
        el("p", { class: "quiet" }, "Your role cannot make keys: ask an owner or admin of this organisation for one."),
      );
      return;
    }
    const trouble = el("p", { class: "form-trouble", role: "alert" });
    const button = el(
      "button",
      { type: "button", class: "button primary", on: { click: () => this.#makeKey(button, trouble) } },
      icon("key"),
      "Make a key",
    );
    fill(
      this.#keyBox,
      el(
        "div",
        { class: "key-row" },
        button,
        el(
          "span",
          { class: "quiet" },
          "It may write and read metrics of this organisation, and can be revoked in Settings.",
        ),
      ),
      trouble,
    );
  }

  async #makeKey(button, trouble) {
    button.disabled = true;
    try {
      this.app.agentKey = await this.app.client.ubs("POST", "/api/v1/keys", {
        name: `agent, ${new Date().toISOString().slice(0, 16).replace("T", " ")}`,
        scopes: ["metrics:write", "metrics:read"],
        expires_in_days: null,
      });
      this.#drawKey();
      this.#drawTabs();
    } catch (error) {
      trouble.textContent = error.message;
      button.disabled = false;
    }
  }

  /**
   * Waits for a metric or job that was not there when the page was opened, or for curl's sample. Names alone are
   * asked for: cheap at any size, and an agent's first samples always bring new ones.
   */
  async #watch(signal) {
    const url = el("code", { class: "wrap" }, writeUrl(location.origin));
    const say = (dot, title, ...content) =>
      fill(this.#arrival, el("h2", { class: "arrival-title" }, el("span", { class: `beacon ${dot}` }), title), content);
    say(
      "waiting",
      "Waiting for the first sample",
      el("p", { class: "quiet" }, "It shows here within seconds of arriving at"),
      url,
    );
    const openedS = hubClock.now() / 1000;
    let before = null;
    for (;;) {
      try {
        const nowS = hubClock.now() / 1000;
        const seen = await this.#names(nowS, signal);
        if (before === null) {
          before = seen;
        } else {
          const metrics = seen.metrics.filter((name) => !before.metrics.includes(name));
          const jobs = seen.jobs.filter((name) => !before.jobs.includes(name));
          const hello = seen.metrics.includes(CURL_METRIC) && (await this.#newer(CURL_METRIC, openedS, signal));
          if (metrics.length > 0 || jobs.length > 0 || hello) {
            await this.#arrived(hello && metrics.length === 0 ? [CURL_METRIC] : metrics, jobs, signal);
            return;
          }
        }
      } catch (error) {
        if (isAbort(error) || signal.aborted) return;
        say("failed", "Cannot look for samples right now", el("p", { class: "quiet" }, error.message));
      }
      try {
        await wait(POLL_MS, signal);
      } catch {
        return;
      }
    }
  }

  async #names(nowS, signal) {
    const within = { start: nowS - LOOK_BACK_S, end: nowS + 60 };
    const [metrics, jobs] = await Promise.all([
      this.app.prometheus.labelValues("__name__", within, signal),
      this.app.prometheus.labelValues("job", within, signal),
    ]);
    return { metrics, jobs };
  }

  async #newer(metric, sinceS, signal) {
    const { data } = await this.app.prometheus.query(`max(timestamp(${metric}))`, hubClock.now() / 1000, signal);
    return Number(data.result[0]?.value?.[1] ?? 0) >= Math.floor(sinceS);
  }

  async #arrived(metrics, jobs, signal) {
    const atMs = hubClock.now();
    const list = el("ul", { class: "arrived" });
    const query =
      jobs.length > 0 && metrics.length === 0 ? selector("", [{ label: "job", op: "=", value: jobs[0] }]) : null;
    const counted = `${metrics.length} new ${metrics.length === 1 ? "metric" : "metrics"}`;
    const what = metrics.length > 0 ? counted : "a new job";
    const from = jobs.length > 0 ? ` from ${jobs.join(", ")}` : "";
    const shownBy = query ? { q: query } : { m: metrics[0], q: metrics[0] };
    fill(
      this.#arrival,
      el("h2", { class: "arrival-title" }, el("span", { class: "beacon arrived-dot" }), "Samples are arriving"),
      el("p", { class: "quiet" }, `Since ${clockTime(atMs)}: ${what}${from}`),
      list,
      el(
        "div",
        { class: "state-actions" },
        el(
          "a",
          {
            class: "button primary",
            href: formatHash({ path: ["explore"], params: { ...shownBy, from: "now-15m", to: "now" } }),
          },
          "Look at them in Explore",
        ),
      ),
    );
    const shown = metrics.slice(0, NAMES_CAP);
    while (!signal.aborted && shown.length > 0) {
      try {
        const rows = await Promise.all(shown.map((name) => this.#row(name, signal)));
        fill(
          list,
          rows,
          metrics.length > shown.length && el("li", { class: "quiet" }, `and ${metrics.length - shown.length} more`),
        );
        await wait(POLL_MS * 2, signal);
      } catch (error) {
        if (isAbort(error) || signal.aborted) return;
        await wait(POLL_MS * 4, signal).catch(() => {});
      }
    }
  }

  async #row(name, signal) {
    const nowMs = hubClock.now();
    const points = grid({ fromMs: nowMs - 300_000, toMs: nowMs }, 5, nowMs);
    const { data } = await this.app.prometheus.queryRange(`sum(${selector(name)})`, points, signal);
    const values = toTable(data, points).series[0]?.values ?? [];
    const { last, max } = summary(values);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 120 28");
    svg.setAttribute("class", "spark");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", sparkPath(values, (max ?? 0) * 1.1));
    svg.append(path);
    return el(
      "li",
      {},
      el(
        "a",
        { href: `#/explore?${new URLSearchParams({ m: name, q: selector(name), from: "now-15m", to: "now" })}` },
        el("code", {}, name),
      ),
      svg,
      el("span", { class: "number" }, format(last, unitOfMetric(name))),
    );
  }
}
