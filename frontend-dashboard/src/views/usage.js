/** Usage: what the organisation used and what it costs, its limits, its teams, and its invoices. */

import { row, table } from "../elements/data_table.js";
import { el, fill } from "../dom.js";
import { emptyState } from "../elements/states.js";
import { viewHead } from "../elements/shell.js";
import { fullTime } from "../format/time.js";
import { hubClock } from "../state/clock.js";
import { barsOf, isOfHub, metersOf, monthOf, quantity, titleOf } from "../state/usage.js";
import { choice, field, notForRole, section } from "./settings/section.js";

const MONTHS_BACK = 12;
const INVOICES = 24;

export class UsageView extends HTMLElement {
  /** @type {import("../app.js").App} */
  app;
  #ended = null;
  #meter = "samples";
  #back = 0;

  connectedCallback() {
    this.#ended = new AbortController();
    const { signal } = this.#ended;
    const body = el("div", { class: "settings-body" });
    this.replaceChildren(viewHead("Usage", "What was used, and what it costs"), body);
    if (!this.app.can("billing:read")) {
      fill(body, notForRole(this.app, "Usage is for those who may read it", "Ask an owner or admin."));
      return;
    }
    fill(
      body,
      this.#plan(signal).card,
      this.#quotas(signal).card,
      this.#byDay(signal).card,
      this.#teams(signal).card,
      this.#invoices(signal).card,
    );
  }

  disconnectedCallback() {
    this.#ended?.abort();
  }

  #ubs(path, signal) {
    return this.app.client.ubs("GET", `/api/v1/${path}`, undefined, { signal });
  }

  /** The plan and what the running period costs so far. */
  #plan(signal) {
    return section(this.app, "This period", signal, async (_, ended) => {
      const [{ plan, period, accrued }, { wallets }] = await Promise.all([
        this.#ubs("subscriptions/current", ended),
        this.#ubs("wallets", ended),
      ]);
      if (!accrued) return el("p", { class: "quiet" }, `Plan ${plan}: usage is shown, nothing is charged.`);
      const { currency, lines, total } = accrued;
      const until = fullTime(Date.parse(period.end), "utc");
      return [
        el("p", {}, `Plan ${plan}. Until ${until}: `, el("strong", {}, `${total} ${currency}`), " so far, before tax."),
        wallets.map(walletLine),
        table(
          ["For", "Quantity", "Amount"],
          lines.map((line) =>
            row(["wrap", line.description], ["number", `${line.quantity} ${line.unit}`], ["number", line.amount]),
          ),
        ),
      ];
    });
  }

  #quotas(signal) {
    return section(this.app, "Limits", signal, async (_, ended) => {
      const { quotas, cap } = await this.#ubs("quotas", ended);
      if (quotas.length === 0)
        return el("p", { class: "quiet" }, "No limit is set: usage is counted, and never refused for its amount.");
      return [
        cap && el("p", { class: "form-trouble", role: "status" }, capWords(cap)),
        ...quotas.map((state) => quotaBar(state)),
      ];
    });
  }

  /** A bar for each day of the month, for one meter. */
  #byDay(signal) {
    return section(this.app, "By day", signal, async (part, ended) => {
      const month = monthOf(hubClock.now(), this.#back);
      const range = new URLSearchParams({ start: iso(month.startMs), end: iso(month.endMs), step: "day" });
      const { usage, complete_through: through } = await this.#ubs(`usage?${range}`, ended);
      const meters = metersOf(usage);
      if (!meters.includes(this.#meter)) this.#meter = meters[0] ?? this.#meter;
      const unit = usage.find(({ meter }) => meter === this.#meter)?.unit ?? "";
      return [
        this.#choices(part, meters),
        meters.length === 0
          ? emptyState("Nothing was used in this month", "Usage appears a few minutes after samples arrive.")
          : dayBars(barsOf(usage, this.#meter, month, hubClock.now()), this.#meter, unit),
        this.#back === 0 && isOfHub(this.#meter) && (await this.#forecast(ended)),
        through && el("p", { class: "quiet" }, `Complete until ${fullTime(Date.parse(through))}.`),
        el(
          "a",
          { class: "link", href: `/api/ubs/api/v1/invoices/statement?${statementRange(month)}`, download: "" },
          "Statement of the month (PDF)",
        ),
      ];
    });
  }

  async #forecast(ended) {
    const ahead = await this.#ubs(`usage/forecast?${new URLSearchParams({ meter: this.#meter })}`, ended);
    if (ahead.method === "none") return null;
    const [likely, low, high] = [ahead.quantity, ahead.low, ahead.high].map((value) => quantity(value, this.#meter));
    return el("p", {}, `Expected at the end of the month: ${likely}, between ${low} and ${high}.`);
  }

  #choices(part, meters) {
    const change = (take) => (event) => {
      take(event.target.value);
      part.reload();
    };
    const months = Array.from({ length: MONTHS_BACK }, (_, back) => {
      const { startMs } = monthOf(hubClock.now(), back);
      return [String(back), new Date(startMs).toISOString().slice(0, 7)];
    });
    const meter = choice(
      { "aria-label": "Meter", on: { change: change((value) => (this.#meter = value)) } },
      (meters.length > 0 ? meters : [this.#meter]).map((code) => [code, titleOf(code)]),
      this.#meter,
    );
    const month = choice(
      { "aria-label": "Month", on: { change: change((value) => (this.#back = Number(value))) } },
      months,
      String(this.#back),
    );
    return el("div", { class: "row-form" }, field("Meter", meter), field("Month, UTC", month));
  }

  #teams(signal) {
    return section(this.app, "By team", signal, async (_, ended) => {
      const { startMs, endMs } = monthOf(hubClock.now());
      const range = new URLSearchParams({ start: iso(startMs), end: iso(endMs), step: "month" });
      const { teams, usage } = await this.#ubs(`usage/by-team?${range}`, ended);
      if (teams.length === 0)
        return el(
          "p",
          { class: "quiet" },
          "No team yet. Teams and the rules that give them series are set by the API.",
        );
      const names = new Map(teams.map(({ id, name }) => [id, name]));
      return table(
        ["Team", "Meter", "This month"],
        usage.map((one) =>
          row(names.get(one.team) ?? "unattributed", titleOf(one.meter), ["number", quantity(one.quantity, one.meter)]),
        ),
      );
    });
  }

  #invoices(signal) {
    return section(this.app, "Invoices", signal, async (_, ended) => {
      const { invoices } = await this.#ubs(`invoices?limit=${INVOICES}`, ended);
      if (invoices.length === 0) return el("p", { class: "quiet" }, "No invoice yet.");
      return table(["Number", "Period", "Date", "State", "Total", ""], invoices.map(invoiceRow));
    });
  }
}

function iso(ms) {
  return new Date(ms).toISOString();
}

function statementRange({ startMs, endMs }) {
  return new URLSearchParams({ start: iso(startMs), end: iso(endMs), as_pdf: "true" });
}

function walletLine({ balance, currency, next_expiry: expiry }) {
  const until = expiry ? `, some of it until ${fullTime(Date.parse(expiry), "utc")}` : "";
  return el("p", {}, `Prepaid credit: ${balance} ${currency}${until}.`);
}

function capWords({ blocked, min_interval_ms: intervalMs }) {
  if (blocked) return "A limit is reached: new samples are refused until the next month, or until the limit is raised.";
  return `A limit is reached: of each series one sample each ${intervalMs / 1000} s is stored.`;
}

/** How much of a quota is used, where it goes, and what happens then. */
function quotaBar({ quota, forecast, percent, days_left: daysLeft }) {
  const words = `${quantity(forecast.used, quota.meter)} of ${quantity(quota.limit, quota.meter)}, ${percent} %`;
  const ahead =
    daysLeft === null
      ? `${quantity(forecast.quantity, quota.meter)} expected at the end of the month`
      : `reached in ${daysLeft} ${daysLeft === 1 ? "day" : "days"}, as it goes now`;
  return el(
    "div",
    { class: "quota" },
    el(
      "div",
      { class: "quota-head" },
      el("span", {}, `${titleOf(quota.meter)}: ${quota.action}`),
      el("span", {}, words),
    ),
    el("meter", {
      class: "quota-bar",
      min: 0,
      max: 100,
      optimum: 0,
      low: 79,
      high: 99,
      value: Math.min(percent, 100),
      "aria-label": `${titleOf(quota.meter)}, ${words}`,
    }),
    el("p", { class: "quiet" }, ahead),
  );
}

function dayBars(bars, meter, unit) {
  const amount = (value) => `${quantity(value, meter)}${meter === "stored_bytes" ? "" : ` ${unit}`}`;
  const words = ({ dayMs, value }) => `${iso(dayMs).slice(0, 10)}: ${value === null ? "to come" : amount(value)}`;
  return el(
    "ol",
    { class: "day-bars", "aria-label": `${titleOf(meter)} by day` },
    bars.map((bar) => {
      const drawn = el("span", { class: "day-bar", title: words(bar) });
      drawn.style.setProperty("--share", bar.share);
      return el("li", {}, drawn, el("span", { class: "offscreen" }, words(bar)));
    }),
  );
}

function invoiceRow(invoice) {
  const isFinal = invoice.number !== null;
  return row(
    isFinal ? invoice.number : "draft",
    ["quiet nowrap", `from ${invoice.period_start.slice(0, 10)}`],
    ["quiet nowrap", invoice.issued_on ?? ""],
    invoice.state,
    ["number", `${invoice.total} ${invoice.currency}`],
    [
      "end",
      isFinal && el("a", { class: "link", href: `/api/ubs/api/v1/invoices/${invoice.id}/pdf`, download: "" }, "PDF"),
    ],
  );
}
