/** Events of watches, as the page tells them. Pure. */

import { fullName } from "./query.js";
import { queryOf } from "./results.js";

const ROOM_MS = 3_600_000;

/** Where Explore shows the event: its series, as the watch asks for it. */
export function placeOf({ labels, start_ms: startMs, end_ms: endMs }, query) {
  const room = Math.max((endMs ?? startMs) - startMs, ROOM_MS);
  return {
    q: query && !labels.__name__ ? queryOf(query, { labels, facts: {} }) : fullName(labels),
    from: String(startMs - room),
    to: endMs === null ? "now" : String(endMs + room),
  };
}

/** What may have caused an event: an event before it, or a new version of what runs. */
export function causeWords({ kind, labels, version, ...runs }) {
  return version === undefined ? `${kind} of ${fullName(labels)}` : `version ${version} of ${fullName(runs)}`;
}
