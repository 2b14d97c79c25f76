/**
 * Talking to the services: one session cookie at ubs, one short token an audience everywhere else.
 *
 *   page ── cookie + X-CSRF-Token ──► /api/ubs           tokens live in memory only; a refused one is replaced and the
 *        └─ Bearer <5-minute JWT> ──► /api/das dis aps   request repeated once; refused again, they sign in anew
 */

import { inSteps } from "../state/steps.js";
import { parseInSteps } from "./json.js";

const REFRESH_EARLY_MS = 60_000;
const UBS_BOUND_MS = 15_000; // sessions, tokens, settings: quick or not at all
const SERVICE_BOUND_MS = 135_000; // the door itself gives a query up after 130 s
const SAFE = new Set(["GET", "HEAD"]);

/**
 * What a service refused, in its own words. `kind` is its errorType, or `network` / `canceled` from the browser's
 * side; `position`: where in the query, where that is told.
 */
export class ApiError extends Error {
  constructor(message, { kind = "internal", status = 0, retryAfterS = null, position = null } = {}) {
    super(message);
    Object.assign(this, { name: "ApiError", kind, status, retryAfterS, position });
  }
}

/** Whether the request was given up by the page itself: nothing to show then. */
export function isAbort(error) {
  return error?.name === "AbortError";
}

/** An ApiError from an answer that is not 2xx: Prometheus JSON, problem details or whatever text there is. */
export async function errorFrom(response) {
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // a proxy's HTML, or nothing at all
  }
  const message =
    body?.error ??
    body?.detail ??
    body?.title ??
    `The service answered ${response.status} ${response.statusText}`.trim();
  const retryAfter = Number(response.headers.get("Retry-After"));
  return new ApiError(typeof message === "string" ? message : JSON.stringify(message), {
    kind:
      body?.errorType ??
      body?.kind ??
      { 401: "unauthenticated", 403: "forbidden", 404: "not_found", 503: "unavailable" }[response.status] ??
      "internal",
    status: response.status,
    retryAfterS: Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : null,
    position: body?.position ?? null,
  });
}

export class Client {
  #fetch;
  #now;
  #clock;
  #tokens = new Map(); // audience → {promise, expiresMs}
  #csrf = null;
  #signedOut;
  #ubsBoundMs;
  #serviceBoundMs;

  /**
   * @param {{fetch?: typeof fetch, now?: () => number, onSignedOut?: () => void, ubsBoundMs?: number,
   * serviceBoundMs?: number, clock?: {observe: Function}}} edges `clock` is shown when the hub answered
   */
  constructor({
    fetch: fetcher = (...args) => globalThis.fetch(...args),
    now = () => Date.now(),
    onSignedOut = () => {},
    ubsBoundMs = UBS_BOUND_MS,
    serviceBoundMs = SERVICE_BOUND_MS,
    clock = null,
  } = {}) {
    this.#clock = clock;
    this.#ubsBoundMs = ubsBoundMs;
    this.#serviceBoundMs = serviceBoundMs;
    this.#fetch = fetcher;
    this.#now = now;
    this.#signedOut = onSignedOut;
  }

  /**
   * Keeps the CSRF token of a session answer and gives the answer back; tokens of another session are forgotten, and
   * the one that every view needs first is asked for at once.
   */
  adopt(session) {
    this.#csrf = session?.csrf_token ?? null;
    this.#tokens.clear();
    if (session && !session.must_enrol) this.#token("das").catch(() => {}); // who needs it asks again, and is told
    return session;
  }

  /** ubs, by cookie. `quiet` keeps a 401 from sending the person to the sign-in page. */
  async ubs(method, path, body = undefined, { signal, quiet = false } = {}) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (!SAFE.has(method) && this.#csrf) headers["X-CSRF-Token"] = this.#csrf;
    const response = await this.#send(
      `/api/ubs${path}`,
      {
        method,
        headers,
        signal,
        credentials: "same-origin",
        body: body === undefined ? undefined : JSON.stringify(body),
      },
      this.#ubsBoundMs,
    );
    if (response.ok) return told(() => (response.status === 204 ? null : response.json()));
    const error = await told(() => errorFrom(response));
    if (response.status === 401 && !quiet) this.#signedOut();
    throw error;
  }

  /**
   * das, dis or aps, by token.
   * @param {"das"|"dis"|"aps"} audience
   * @param {{method?: string, params?: object, form?: object, json?: object, signal?: AbortSignal}} request
   */
  async service(audience, path, request = {}) {
    const response = await this.#ask(audience, path, request);
    if (response.status === 204) return null;
    return told(async () => inSteps(parseInSteps(await response.text()), request.signal));
  }

  /** The answer in another type, as a file. */
  async file(audience, path, type, request = {}) {
    const response = await this.#ask(audience, path, { ...request, type });
    return told(() => response.blob());
  }

  /**
   * Calls `take` with the data of each server-sent event, until the stream or `signal` ends.
   * @param {(data: object) => void} take
   */
  async events(audience, path, take, { signal }) {
    const response = await this.#ask(audience, path, { signal, type: "text/event-stream" });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await told(() => reader.read());
      if (done) return;
      const lines = (text + value).split(/\r?\n/);
      text = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) take(JSON.parse(line.slice(5)));
    }
  }

  async #ask(audience, path, { method = "GET", params, form, json, signal, type = "application/json" }) {
    const search = params ? `?${encodeForm(params)}` : "";
    const headers = { Accept: type };
    let body;
    if (form) {
      headers["Content-Type"] = "application/x-www-form-urlencoded";
      body = encodeForm(form).toString();
    } else if (json !== undefined) {
      headers["Content-Type"] = "application/json";
      body = JSON.stringify(json);
    }
    for (let attempt = 0; ; attempt += 1) {
      const token = await this.#token(audience);
      signal?.throwIfAborted();
      const response = await this.#send(
        `/api/${audience}${path}${search}`,
        {
          method,
          headers: { ...headers, Authorization: `Bearer ${token}` },
          body,
          signal,
          credentials: "omit",
        },
        this.#serviceBoundMs,
      );
      if (response.ok) return response;
      if (response.status === 401) {
        this.#tokens.delete(audience);
        if (attempt === 0) continue;
        this.#signedOut();
      }
      throw await told(() => errorFrom(response));
    }
  }

  /** One request for a token at a time and audience, however many panels ask. */
  #token(audience) {
    const known = this.#tokens.get(audience);
    if (known && known.expiresMs - REFRESH_EARLY_MS > this.#now()) return known.promise;
    const entry = { expiresMs: Infinity, promise: null };
    entry.promise = this.ubs("POST", "/api/v1/token", { audience }).then((answer) => {
      entry.expiresMs = this.#now() + answer.expires_in_s * 1000;
      return answer.token;
    });
    entry.promise.catch(() => {
      if (this.#tokens.get(audience) === entry) this.#tokens.delete(audience);
    });
    this.#tokens.set(audience, entry);
    return entry.promise;
  }

  /** The answer, headers and body, is there within `boundMs`, or the request ends in an error that says so. */
  #send(url, { signal, ...init }, boundMs) {
    const bound = AbortSignal.timeout(boundMs);
    return told(async () => {
      const askedMs = this.#now();
      const response = await this.#fetch(url, { ...init, signal: signal ? AbortSignal.any([signal, bound]) : bound });
      this.#clock?.observe(Date.parse(response.headers.get("Date") ?? ""), askedMs, this.#now());
      return response;
    });
  }
}

/** What `read` gives; a connection that fails or never answers becomes an error in words. */
async function told(read) {
  try {
    return await read();
  } catch (error) {
    if (isAbort(error) || error instanceof ApiError || error instanceof SyntaxError) throw error;
    throw new ApiError(
      error?.name === "TimeoutError"
        ? "The hub did not answer in time."
        : "The hub cannot be reached. Is it running, and are you online?",
      { kind: "network" },
    );
  }
}

function encodeForm(fields) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") search.append(name, String(one));
    }
  }
  return search;
}
