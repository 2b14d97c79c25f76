/** Add data: what to paste where, with a key made on the spot, and the first sample seen as it arrives. */

import { el, fill, icon } from "../dom.js";
import { viewHead } from "../elements/shell.js";
import { snippet } from "../elements/snippet.js";
import { hubClock } from "../state/clock.js";
import {
  KEY_PLACEHOLDER,
  curlSnippet,
  grafanaSnippet,
  otelSnippet,
  prometheusSnippet,
  telegrafSnippet,
} from "../state/snippets.js";
import { Arrival } from "./arrival.js";

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
  #tabs = AGENTS.map(([name, words]) => this.#tab(name, words));
  #paste = el("div", { class: "paste", role: "tabpanel" });

  connectedCallback() {
    this.#ended = new AbortController();
    const arrival = new Arrival(this.app);
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
            el("div", { class: "tabs", role: "tablist", "aria-label": "Agent" }, this.#tabs),
            this.#paste,
          ),
        ),
        arrival.card,
      ),
    );
    this.routeChanged();
    this.#drawKey();
    for (const copied of ["copy", "coh-copied"])
      this.addEventListener(copied, () => this.app.agentKeyCopied(), { signal: this.#ended.signal });
    arrival.watch(this.#ended.signal);
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  routeChanged() {
    const { agent } = this.app.route.params;
    this.#agent = AGENTS.some(([name]) => name === agent) ? agent : "prometheus";
    this.#drawSnippet();
  }

  #tab(name, words) {
    const names = AGENTS.map(([agent]) => agent);
    const move = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: names.length - 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = (names.indexOf(name) + step) % names.length;
      this.#pick(names[next]);
      this.#tabs[next].focus();
    };
    return el("button", { role: "tab", class: "tab", on: { click: () => this.#pick(name), keydown: move } }, words);
  }

  #drawSnippet() {
    this.#tabs.forEach((tab, index) => {
      const isShown = AGENTS[index][0] === this.#agent;
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
    });
    const [, words, text, make] = AGENTS.find(([name]) => name === this.#agent);
    fill(
      this.#paste,
      el("p", { class: "quiet" }, text),
      snippet(make(location.origin, this.app.agentKey?.key ?? KEY_PLACEHOLDER), `${words} configuration`),
      !this.app.agentKey &&
        this.app.can("admin") &&
        el("p", { class: "field-note" }, `Make a key above and it stands here in place of ${KEY_PLACEHOLDER}`),
    );
  }

  #pick(name) {
    this.#agent = name;
    this.app.setParams({ agent: name === "prometheus" ? "" : name });
    this.#drawSnippet();
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
      { class: "button primary", on: { click: () => this.#makeKey(button, trouble) } },
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
      this.#drawSnippet();
      this.#keyBox.querySelector("button").focus();
    } catch (error) {
      trouble.textContent = error.message;
      button.disabled = false;
    }
  }
}
