/** Events of watches, as the page tells them. Pure. */

import { fullName } from "./query.js";

const ROOM_MS = 3_600_000;

/** Those that last first, then the newest first. */
export function inOrder(events) {
  return events.toSorted(
    (a, b) => (b.until_ms === null) - (a.until_ms === null) || b.since_ms - a.since_ms || (a.id < b.id ? 1 : -1),
  );
}

/** Whether every word of `text` is in what the event says. */
export function matches(event, text) {
  const said = [event.kind, event.text, fullName(event.labels), event.watchName].join(" ").toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => said.includes(word));
}

/** Where Explore shows the event: its series where that has a name, else all of the watch's query. */
export function placeOf({ labels, since_ms: sinceMs, until_ms: untilMs }, query) {
  const room = Math.max((untilMs ?? sinceMs) - sinceMs, ROOM_MS);
  return {
    q: labels.__name__ ? fullName(labels) : query,
    from: String(sinceMs - room),
    to: untilMs === null ? "now" : String(untilMs + room),
  };
}
