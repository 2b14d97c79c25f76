/** Times as people read them, in the browser's zone or UTC. Pure but for the zone of the machine and the hub's now. */

import { hubClock } from "../state/clock.js";

const LOCALE = "en-GB";
const MINUTE_S = 60;

const SECONDS = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DAY = { day: "numeric", month: "short" };
const formats = new Map(); // making one takes a hundred times as long as using it

/** @param {"local"|"utc"} zone */
function formatOf(zone, name, options) {
  const key = `${zone} ${name}`;
  if (!formats.has(key))
    formats.set(key, new Intl.DateTimeFormat(LOCALE, zone === "utc" ? { ...options, timeZone: "UTC" } : options));
  return formats.get(key);
}

/** `22 Nov 2026, 14:03:20` */
export function fullTime(ms, zone = "local") {
  return formatOf(zone, "full", { ...DAY, year: "numeric", ...SECONDS }).format(ms);
}

/** `22 Nov 14:03`, with the year when it is another one. */
export function shortTime(ms, zone = "local", nowMs = hubClock.now()) {
  const sameYear = new Date(ms).getFullYear() === new Date(nowMs).getFullYear();
  const year = sameYear ? {} : { year: "numeric" };
  const minutes = { hour: "2-digit", minute: "2-digit" };
  return formatOf(zone, sameYear ? "short" : "short, year", { ...DAY, ...minutes, ...year })
    .format(ms)
    .replace(",", "");
}

/** `14:03:20` */
export function clockTime(ms, zone = "local") {
  return formatOf(zone, "clock", SECONDS).format(ms);
}

/** `just now`, `3 minutes ago`, `in 2 days`. */
export function relativeTime(ms, nowMs = hubClock.now()) {
  const seconds = Math.round((ms - nowMs) / 1000);
  const size = Math.abs(seconds);
  if (size < 10) return "just now";
  const steps = [
    ["second", 1, MINUTE_S],
    ["minute", 60, 3600],
    ["hour", 3600, 86_400],
    ["day", 86_400, 2_592_000],
    ["month", 2_592_000, 31_536_000],
    ["year", 31_536_000, Infinity],
  ];
  const [name, length] = steps.find(([, , end]) => size < end);
  const count = Math.max(1, Math.floor(size / length));
  const words = `${count} ${name}${count === 1 ? "" : "s"}`;
  return seconds < 0 ? `${words} ago` : `in ${words}`;
}
