/** How far the samples of a selector lie apart, learnt from the samples themselves. Time and questions come in. */

import { PLAIN, SELECTOR } from "./sampling.js";

const NICE_S = [1, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600];
const UNKNOWN_S = 15;
const HUB_S = 5; // how often the hub scrapes by itself: no sample is missed at that
const KEPT_MS = 300_000;
const KEPT_MAX = 200; // selectors
const SELECTORS_MAX = 4; // of one query
const RATE = new RegExp(`(${SELECTOR})\\s*\\[\\$(?:__rate_interval\\]|\\{__rate_interval\\}\\])`, "g");

/**
 * PromQL: mean seconds between the samples of each series of `selector`. Times of samples are counted, so a source of
 * two minutes' age is told rightly; a series of one sample is left out.
 */
export function samplesApart(selector, range = "10m:5s") {
  const times = `timestamp(${selector})[${range}]`;
  return `(max_over_time(${times}) - min_over_time(${times})) / (changes(${times}) > 0)`;
}

/** The selectors of a query whose windows are left to the page, or the query where it is a selector. */
export function selectorsOf(query) {
  if (PLAIN.test(query)) return [query.trim()];
  const found = [...query.matchAll(RATE)].map((match) => match[1]);
  return [...new Set(found)].slice(0, SELECTORS_MAX);
}

/** The interval someone configured, given what was measured: a little late is no other interval. */
export function configured(seconds) {
  return NICE_S.find((nice) => nice * 1.05 >= seconds) ?? Math.ceil(seconds);
}

export class ScrapeIntervals {
  #ask;
  #kept = new Map(); // selector and hour → {promise, untilMs}

  /** @param {(query: string, timeS: number) => Promise<{value: number}[]>} ask an instant query */
  constructor(ask) {
    this.#ask = ask;
  }

  /** Seconds between samples of the slowest selector of `query` around `atMs`; what cannot be learnt is a guess. */
  async of(query, atMs, nowMs = atMs) {
    const selectors = selectorsOf(query);
    if (selectors.length === 0) return HUB_S;
    return Math.max(...(await Promise.all(selectors.map((selector) => this.#learn(selector, atMs, nowMs)))));
  }

  forget() {
    this.#kept.clear();
  }

  #learn(selector, atMs, nowMs) {
    const key = `${Math.floor(atMs / 3_600_000)} ${selector}`;
    const kept = this.#kept.get(key);
    if (kept && kept.untilMs > nowMs) return kept.promise;
    const entry = { untilMs: nowMs + KEPT_MS, promise: this.#measured(selector, atMs) };
    entry.promise = entry.promise.then((seconds) => {
      if (seconds === null) entry.untilMs = nowMs + KEPT_MS / 10;
      return seconds ?? UNKNOWN_S;
    });
    this.#kept.delete(key);
    this.#kept.set(key, entry);
    if (this.#kept.size > KEPT_MAX) this.#kept.delete(this.#kept.keys().next().value);
    return entry.promise;
  }

  /** The last ten minutes, else the last two hours: some sources are scraped rarely. */
  async #measured(selector, atMs) {
    try {
      for (const range of ["10m:5s", "2h:1m"]) {
        const [found] = await this.#ask(`max(${samplesApart(selector, range)})`, atMs / 1000);
        if (found?.value > 0 && Number.isFinite(found.value)) return configured(found.value);
      }
    } catch {
      // a query that cannot be read is told by the panel that asks it
    }
    return null;
  }
}
