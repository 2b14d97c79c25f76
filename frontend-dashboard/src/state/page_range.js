/**
 * The range all panels of a page share, its history, and the clock that refreshes them.
 *
 * Events: `range` (it was changed, load anew), `tick` (time went on, refresh), `paint` (only its label or liveness
 * changed), `answer` (a panel was answered, or was not).
 */

import { hubClock } from "./clock.js";
import { absolute, isRelative, pan, resolve, zoomed } from "./time_range.js";

export const REFRESH_CHOICES_S = [0, 5, 10, 30, 60, 300];

const OVERDUE_MS = 30_000;

/**
 * What the page may say about its own freshness: `Live` only after an answer, and only while they go on coming.
 * @param {{live: boolean, refreshS: number, answeredMs: number|null, failedMs: number|null}} state
 * @param {(ms: number) => string} clock
 */
export function liveness({ live, refreshS, answeredMs, failedMs }, nowMs, clock) {
  if (!live) return { on: false, words: "Paused" };
  const failed = failedMs !== null && failedMs > (answeredMs ?? 0);
  if (answeredMs === null) return { on: false, words: failed ? "Not reachable" : "" };
  if (failed || nowMs - answeredMs > Math.max(3000 * refreshS, OVERDUE_MS))
    return { on: false, words: `Not refreshed since ${clock(answeredMs)}` };
  return { on: true, words: "Live" };
}

export class PageRange extends EventTarget {
  #clock;
  #range;
  #back = [];
  #refreshS;
  #zone;
  #timer = null;
  #running = false;
  #answeredMs = null;
  #failedMs = null;

  constructor({ range, refreshS = 10, zone = "local", clock = hubClock }) {
    super();
    this.#clock = clock;
    this.#range = range;
    this.#refreshS = refreshS;
    this.#zone = zone;
  }

  get range() {
    return this.#range;
  }
  get refreshS() {
    return this.#refreshS;
  }
  get zone() {
    return this.#zone;
  }
  get canGoBack() {
    return this.#back.length > 0;
  }
  /** Whether the page refreshes by itself right now. */
  get live() {
    return this.#refreshS > 0 && isRelative(this.#range) && !document.hidden;
  }

  get answeredMs() {
    return this.#answeredMs;
  }
  get failedMs() {
    return this.#failedMs;
  }

  /** A panel was answered; `error`: it was not. A query that was refused was answered all the same. */
  report(error = null, nowMs = this.#clock.now()) {
    if (error && (error.status === 0 || error.status >= 502)) this.#failedMs = nowMs;
    else this.#answeredMs = nowMs;
    this.dispatchEvent(new Event("answer"));
  }

  /** @returns {{fromMs: number, toMs: number}} */
  span(nowMs = this.#clock.now()) {
    return resolve(this.#range, nowMs) ?? { fromMs: nowMs - 3_600_000, toMs: nowMs };
  }

  /** Takes `range`; the one before can be gone back to. */
  set(range) {
    if (range.from === this.#range.from && range.to === this.#range.to) return;
    this.#back.push(this.#range);
    if (this.#back.length > 50) this.#back.shift();
    this.#range = range;
    this.#changed();
  }

  back() {
    const before = this.#back.pop();
    if (!before) return;
    this.#range = before;
    this.#changed();
  }

  /** As the URL says, without adding to the history of zooms. */
  adopt({ range, refreshS, zone }) {
    const same = range.from === this.#range.from && range.to === this.#range.to && zone === this.#zone;
    this.#range = range;
    this.#refreshS = refreshS;
    this.#zone = zone;
    if (!same) this.#changed();
  }

  setSpan({ fromMs, toMs }) {
    this.set(absolute(fromMs, toMs));
  }
  zoomBy(factor) {
    this.set(zoomed(this.#range, this.span(), factor, this.#clock.now()));
  }
  panBy(part) {
    this.setSpan(pan(this.span(), part));
  }

  set refreshS(seconds) {
    this.#refreshS = seconds;
    this.#arm();
    this.dispatchEvent(new Event("paint"));
  }

  set zone(zone) {
    this.#zone = zone;
    this.#changed();
  }

  /** Asks every panel for fresh data now. */
  refresh() {
    this.dispatchEvent(new Event("tick"));
    this.#arm();
  }

  /** Runs the clock until `signal` ends; a hidden page rests and catches up when it is seen again. */
  start(signal) {
    document.addEventListener(
      "visibilitychange",
      () => {
        if (document.hidden) this.#stop();
        else if (this.live) this.refresh();
        this.dispatchEvent(new Event("paint"));
      },
      { signal },
    );
    signal.addEventListener("abort", () => {
      this.#running = false;
      this.#stop();
    });
    this.#running = true;
    this.#arm();
  }

  #changed() {
    this.dispatchEvent(new Event("range"));
    this.dispatchEvent(new Event("paint"));
    this.#arm();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #arm() {
    this.#stop();
    if (this.#running && this.live) this.#timer = setTimeout(() => this.refresh(), this.#refreshS * 1000);
  }
}
