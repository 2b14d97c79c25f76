/** The Prometheus HTTP API of das, as the page uses it. */

import { plan } from "../state/sampling.js";
import { ScrapeIntervals } from "../state/scrape.js";
import { Questions } from "./questions.js";
import { ApiError } from "./client.js";
import { toVector } from "./matrix.js";

/** @typedef {import("./client.js").Client} Client */

export class Prometheus {
  #client;
  #questions = this.#newQuestions();
  #learning = this.#newQuestions(); // of its own: what needs no interval does not wait for one
  #intervals = new ScrapeIntervals(async (query, timeS) =>
    toVector((await this.#at(this.#learning, query, timeS)).data),
  );

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
  queryRange(query, { start, end, step }, signal) {
    return this.#questions.ask({ query, start, end, step }, signal);
  }

  /** The values at one time. */
  query(query, timeS, signal) {
    return this.#at(this.#questions, query, timeS, signal);
  }

  /** The same, in a request of its own: what takes long keeps nothing else waiting. */
  queryAlone(query, timeS, signal) {
    return this.#one({ query, start: timeS, end: timeS, step: null }, signal);
  }

  async #at(questions, query, timeS, signal) {
    const { data, warnings } = await questions.ask({ query, start: timeS, end: timeS, step: null }, signal);
    if (data.resultType !== "matrix") return { data, warnings };
    const result = data.result.map(({ metric, values }) => ({ metric, value: values[0] }));
    return { data: { resultType: "vector", result }, warnings };
  }

  #newQuestions() {
    return new Questions({
      sendAll: (questions, signal) => this.#all(questions, signal),
      sendOne: (question, signal) => this.#one(question, signal),
    });
  }

  async #one({ query, start, end, step }, signal) {
    const [path, form] =
      step === null ? ["/api/v1/query", { query, time: start }] : ["/api/v1/query_range", { query, start, end, step }];
    return answerOf(await this.#client.service("das", path, { method: "POST", form, signal }));
  }

  async #all(questions, signal) {
    const column = (name) => questions.map((question) => question[name] ?? 1); // of one moment any step is right
    const form = { query: column("query"), start: column("start"), end: column("end"), step: column("step") };
    const { data } = await this.#client.service("das", "/api/v1/query_ranges", { method: "POST", form, signal });
    return data.map((one) => (one.status === "success" ? answerOf(one) : new ApiError(one.error, errorKind(one))));
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

/** That rollups were read is no warning: they give the answer of the samples. */
function answerOf({ data, warnings = [], infos = [] }) {
  return { data, warnings: [...warnings, ...infos.filter((info) => !info.includes("read from rollups"))] };
}

/** One of several that was refused: the hub did answer, so it can be reached. */
function errorKind({ errorType }) {
  return { kind: errorType, status: errorType === "bad_data" ? 400 : 422 };
}

/** A label name as it may stand in a path: classic names as they are, others in Prometheus's `U__` escaping. */
export function escapeLabel(label) {
  if (/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(label)) return label;
  const escaped = (char) => (char === "_" ? "__" : `_${char.codePointAt(0).toString(16)}_`);
  return `U__${[...label].map((char) => (/[a-zA-Z0-9]/.test(char) ? char : escaped(char))).join("")}`;
}
