/** The three faces of a place without data: loading, empty, failed. */

import { ApiError } from "../api/client.js";
import { el, icon } from "../dom.js";
import { errorOffset } from "../state/query.js";

export function loadingState() {
  return el(
    "div",
    { class: "state state-loading", "aria-busy": "true" },
    el("span", { class: "shimmer" }),
    el("span", { class: "offscreen" }, "Loading"),
  );
}

export function emptyState(title, text = "", ...actions) {
  return el(
    "div",
    { class: "state" },
    el("p", { class: "state-title" }, title),
    text && el("p", { class: "state-text" }, text),
    actions.length > 0 && el("div", { class: "state-actions" }, actions),
  );
}

/** What went wrong in the server's words, where in the query, and what may be done. */
export function failedState(error, { query = "", retry = null } = {}) {
  const message = error instanceof ApiError ? error.message : `The page failed: ${error?.message ?? error}`;
  const at = query ? errorOffset(message, query) : null;
  return el(
    "div",
    { class: "state state-failed", role: "alert" },
    el("p", { class: "state-title" }, icon("warning"), titleOf(error)),
    el("p", { class: "state-text" }, message),
    at !== null && markedQuery(query, at),
    retry &&
      el("div", { class: "state-actions" }, el("button", { class: "button", on: { click: retry } }, "Try again")),
  );
}

function titleOf(error) {
  switch (error?.kind) {
    case "bad_data":
      return "The query cannot be read";
    case "execution":
      return "The query cannot be answered";
    case "timeout":
      return "The query took too long";
    case "unavailable":
    case "network":
      return "Not reachable right now";
    case "forbidden":
      return "Not allowed";
    case "rate_limited":
      return "Too many requests";
    default:
      return "Something failed";
  }
}

/** The query with the place of the error marked. */
export function markedQuery(query, at) {
  const end = Math.max(at + 1, at + (/^[\w:.]+/.exec(query.slice(at))?.[0].length ?? 1));
  return el(
    "code",
    { class: "marked-query" },
    query.slice(0, at),
    el("mark", {}, query.slice(at, end) || "⏎"),
    query.slice(end),
  );
}
