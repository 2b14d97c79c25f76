import {
  absolute,
  floorTo,
  isRelative,
  pan,
  parseBound,
  presetLabel,
  resolve,
  zoom,
  zoomed,
} from "../../src/state/time_range.js";
import { relativeTime } from "../../src/format/time.js";
import { equal, ok, test } from "./harness.js";

const NOW = Date.UTC(2026, 10, 22, 14, 35, 20); // a Sunday
const HOUR = 3_600_000;

test("A relative bound counts from now, and rounds down in UTC when asked.", () => {
  equal(parseBound("now", NOW), NOW);
  equal(parseBound("now-6h", NOW), NOW - 6 * HOUR);
  equal(parseBound("now-1d/d", NOW), Date.UTC(2026, 10, 21));
  equal(parseBound("now/w", NOW), Date.UTC(2026, 10, 16));
  equal(parseBound("now/M", NOW), Date.UTC(2026, 10, 1));
  equal(parseBound("now+5m", NOW), NOW + 300_000);
});

test("An absolute bound is milliseconds, seconds or a date; anything else is refused.", () => {
  equal(parseBound("1795358120000", NOW), 1795358120000);
  equal(parseBound("1795358120", NOW), 1795358120000);
  equal(parseBound("2026-11-22T14:00:00Z", NOW), Date.UTC(2026, 10, 22, 14));
  equal(
    ["", "yesterday", "now-6", "now-6x", "6h", "now--1h", "2026-13-99"].map((text) => parseBound(text, NOW)),
    [null, null, null, null, null, null, null],
  );
});

test("A range whose end is not after its start is none.", () => {
  equal(resolve({ from: "now", to: "now-1h" }, NOW), null);
  equal(resolve({ from: "now-1h", to: "now" }, NOW), { fromMs: NOW - HOUR, toMs: NOW });
  equal(resolve({ from: "x", to: "now" }, NOW), null);
});

test("Only a range that ends by now moves with time.", () => {
  ok(isRelative({ from: "now-1h", to: "now" }));
  ok(!isRelative(absolute(1, 2)));
  equal(presetLabel({ from: "now-6h", to: "now" }), "Last 6 hours");
  equal(presetLabel({ from: "now-6h", to: "now-1h" }), null);
});

test("Zooming keeps the middle, panning keeps the length.", () => {
  const span = { fromMs: 0, toMs: 1000_000 };
  equal(zoom(span, 0.5), { fromMs: 250_000, toMs: 750_000 });
  equal(zoom(zoom(span, 2), 0.5), span);
  equal(pan(span, -0.5), { fromMs: -500_000, toMs: 500_000 });
  const tiny = zoom({ fromMs: 0, toMs: 10 }, 0.1);
  ok(tiny.toMs - tiny.fromMs >= 1000);
});

test("Weeks begin on Monday.", () => {
  equal(floorTo(Date.UTC(2026, 10, 16), "w"), Date.UTC(2026, 10, 16));
  equal(floorTo(Date.UTC(2026, 10, 15, 23), "w"), Date.UTC(2026, 10, 9));
});

test("Times near are told in words.", () => {
  equal(
    [0, -5, -90, -7200, 86_400 * 2].map((seconds) => relativeTime(NOW + seconds * 1000, NOW)),
    ["just now", "just now", "1 minute ago", "2 hours ago", "in 2 days"],
  );
});

test("A live range that is zoomed stays live; no zoom reaches into the future.", () => {
  const at = (range) => resolve(range, NOW);
  const live = (from) => ({ from, to: "now" });
  const out = (range, factor = 2) => zoomed(range, at(range), factor, NOW);
  equal(out(live("now-15m")), live("now-30m"));
  equal(out(live("now-1h"), 0.5), live("now-30m"));
  equal(out(live("now-12h")), live("now-24h"));
  equal(out(live("now-24h")), live("now-2d"));
  equal(out(live("now-5s"), 0.5), live("now-5s"));
  let wide = live("now-90d");
  for (let times = 0; times < 6; times += 1) wide = out(wide);
  ok(at(wide) !== null, wide.from);
  const fixed = out(absolute(NOW - 2 * HOUR, NOW - HOUR / 4));
  ok(Number(fixed.to) <= NOW, fixed.to);
});
