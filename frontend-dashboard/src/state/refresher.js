/**
 * One thing that is loaded again and again, one request at a time.
 *
 *   tick  ──► refresh()  asks, unless an earlier request is still on its way: a slow answer is waited for
 *   range ──► restart()  gives up what is on its way, which nobody wants any more, and asks anew
 *   unseen ─► either     asks nothing; once, when it is seen
 */

import { isAbort } from "../api/client.js";

export class Refresher {
  #load;
  #failed;
  #request = null;
  #seen = true;
  #stale = false; // it should have asked, and was not seen

  /**
   * @param {(signal: AbortSignal) => Promise<(() => void)|void>} load  asks; what it gives draws the answer, and is
   * called only if nobody asked anew meanwhile
   * @param {(error: Error) => void} failed  what the present request ended in
   */
  constructor(load, failed) {
    this.#load = load;
    this.#failed = failed;
  }

  get busy() {
    return this.#request !== null;
  }

  set seen(seen) {
    this.#seen = seen;
    if (seen && this.#stale) this.refresh();
  }

  /** @returns {Promise<void>} settled when this request is */
  async refresh() {
    if (!this.busy) await this.restart();
  }

  async restart() {
    this.stop();
    this.#stale = !this.#seen;
    if (this.#stale) return;
    const request = new AbortController();
    this.#request = request;
    try {
      const draw = await this.#load(request.signal);
      if (request === this.#request) draw?.();
    } catch (error) {
      if (!isAbort(error) && request === this.#request) this.#failed(error);
    } finally {
      if (request === this.#request) this.#request = null;
    }
  }

  stop() {
    this.#request?.abort();
    this.#request = null;
  }
}
