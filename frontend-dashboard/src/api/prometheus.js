/** The Prometheus HTTP API of das, as the page uses it. */

import { plan } from "../state/sampling.js";
import { ScrapeIntervals } from "../state/scrape.js";
import { toVector } from "./matrix.js";

/** @typedef {import("./client.js").Client} Client */

export class Prometheus {
  #client;
  #intervals = new ScrapeIntervals(async (query, timeS) => toVector((await this.query(query, timeS)).data));

  /** @param {Client} client */
  constructor(client) {
    this.#client = client;
  }

  /** What is asked for `query` over `span`, with windows as wide as its samples need them. */
  async plan(query, span, nowMs, signal) {
    const scrapeS = await this.#intervals.of(query, Math.min(span.toMs, nowMs), nowMs);
    signal?.throwIfAborted();
    return plan(query, span, nowMs, scrapeS);
  }

  /** Another organisation's samples are others. */
  forget() {
    this.#intervals.forget();
  }

  /** @returns {Promise<{data: object, warnings: string[]}>} */
  async queryRange(query, { start, end, step }, signal) {
    const answer = await this.#client.service("das", "/api/v1/query_range", {
      method: "POST",
      form: { query, start, end, step },
      signal,
    });
    return { data: answer.data, warnings: [...(answer.warnings ?? []), ...(answer.infos ?? [])] };
  }

  async query(query, timeS, signal) {
    const answer = await this.#client.service("das", "/api/v1/query", {
      method: "POST",
      form: { query, time: timeS },
      signal,
    });
    return { data: answer.data, warnings: answer.warnings ?? [] };
  }

  async labels({ match, start, end, limit } = {}, signal) {
    const params = { "match[]": match, start, end, limit };
    return (await this.#client.service("das", "/api/v1/labels", { params, signal })).data;
  }

  async labelValues(label, { match, start, end, limit } = {}, signal) {
    const params = { "match[]": match, start, end, limit };
    return (await this.#client.service("das", `/api/v1/label/${escapeLabel(label)}/values`, { params, signal })).data;
  }

  /** `{name: [{type, help, unit}]}` */
  async metadata(signal) {
    return (await this.#client.service("das", "/api/v1/metadata", { signal })).data;
  }
}

/** A label name as it may stand in a path: classic names as they are, others in Prometheus's `U__` escaping. */
export function escapeLabel(label) {
  if (/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(label)) return label;
  const escaped = (char) => (char === "_" ? "__" : `_${char.codePointAt(0).toString(16)}_`);
  return `U__${[...label].map((char) => (/[a-zA-Z0-9]/.test(char) ? char : escaped(char))).join("")}`;
}
