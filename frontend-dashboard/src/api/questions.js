/**
 * Questions that are asked in the same moment go as one request: a refresh of a page of charts costs the browser one
 * request instead of twenty, and its answers are drawn in one frame. The same question is sent once.
 */

const QUERIES_MAX = 64; // as das takes them
const ALONE = new Set([404, 413, 422]); // an older das; too much for one query, maybe not for each

/** @typedef {{query: string, start: number, end: number, step: number|null}} Question seconds; both ends
 * inclusive; null: the values at one time */

export class Questions {
  #sendAll;
  #sendOne;
  #later;
  #waiting = new Map(); // the question as text → {question, askers}

  /**
   * @param {{sendAll: (questions: Question[], signal: AbortSignal) => Promise<object[]>,
   * sendOne: (question: Question, signal: AbortSignal) => Promise<object>, later?: (act: () => void) => void}} edges
   * `sendAll` gives an answer or an Error for each
   */
  constructor({ sendAll, sendOne, later = (act) => setTimeout(act) }) {
    this.#sendAll = sendAll;
    this.#sendOne = sendOne;
    this.#later = later;
  }

  /** The answer to one question; rejects as soon as `signal` ends. */
  ask(question, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      if (this.#waiting.size === 0) this.#later(() => this.#flush());
      const key = JSON.stringify(question);
      const entry = this.#waiting.get(key) ?? { question, askers: [] };
      this.#waiting.set(key, entry);
      entry.askers.push({ signal, resolve, reject });
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  #flush() {
    const wanted = [...this.#waiting.values()].filter(({ askers }) => askers.some(isWaiting));
    this.#waiting.clear();
    for (let at = 0; at < wanted.length; at += QUERIES_MAX) this.#send(wanted.slice(at, at + QUERIES_MAX));
  }

  async #send(entries) {
    const signal = whenAllLeft(entries.flatMap(({ askers }) => askers));
    const questions = entries.map(({ question }) => question);
    let answers;
    try {
      answers =
        questions.length > 1 ? await this.#sendAll(questions, signal) : [await this.#sendOne(questions[0], signal)];
    } catch (error) {
      if (questions.length > 1 && (ALONE.has(error.status) || error.kind === "timeout")) {
        for (const entry of entries) this.#send([entry]);
        return;
      }
      answers = questions.map(() => error);
    }
    entries.forEach(({ askers }, index) => {
      const answer = answers[index];
      for (const { resolve, reject } of askers) {
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
      }
    });
  }
}

const isWaiting = ({ signal }) => !signal?.aborted;

/** Ends when nobody waits for the answer any more. */
function whenAllLeft(askers) {
  const request = new AbortController();
  const look = () => {
    if (!askers.some(isWaiting)) request.abort();
  };
  for (const { signal } of askers) signal?.addEventListener("abort", look, { once: true });
  return request.signal;
}
