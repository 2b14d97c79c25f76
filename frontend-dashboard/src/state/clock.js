/**
 * The hub's time, as far as its answers tell: each has a `Date` of whole seconds and came between two moments of the
 * browser's clock. Ranges follow it, so that a browser whose clock is wrong still sees the newest samples.
 */

const TELL_MS = 10_000;

export class HubClock extends EventTarget {
  #now;
  #least = -Infinity; // hub minus browser, ms
  #most = Infinity;

  /** @param {() => number} now the browser's clock, ms */
  constructor(now = () => Date.now()) {
    super();
    this.#now = now;
  }

  /** How far the hub's clock is ahead of the browser's, ms; 0 while they may agree. */
  get offsetMs() {
    if (this.#least <= 0 && this.#most >= 0) return 0;
    return Math.round(this.#least > 0 ? this.#least : this.#most);
  }

  /** Whether the person should be told. */
  get isOff() {
    return Math.abs(this.offsetMs) > TELL_MS;
  }

  now() {
    return this.#now() + this.offsetMs;
  }

  /** An answer of the hub: its `Date`, ms, and when the browser asked and was answered. Event `change`: it is off now,
   * or no longer. */
  observe(dateMs, askedMs, answeredMs) {
    if (!Number.isFinite(dateMs)) return;
    const before = this.isOff;
    const least = dateMs - answeredMs;
    const most = dateMs + 1000 - askedMs;
    const agrees = least <= this.#most && most >= this.#least;
    this.#least = agrees ? Math.max(least, this.#least) : least; // else one of the clocks was set
    this.#most = agrees ? Math.min(most, this.#most) : most;
    if (before !== this.isOff) this.dispatchEvent(new Event("change"));
  }
}

/** The clock of the hub that this page belongs to. */
export const hubClock = new HubClock();
