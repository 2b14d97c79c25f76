import { Client } from "../../src/api/client.js";
import { HubClock } from "../../src/state/clock.js";
import { PageRange } from "../../src/state/page_range.js";
import { equal, ok, test } from "./harness.js";

const HUB = Date.UTC(2026, 10, 22, 14, 35, 20);

/** A clock whose browser is `ahead` ms ahead of the hub; answers take `tookMs`. */
function clockOff(ahead) {
  let browserMs = HUB + ahead;
  const clock = new HubClock(() => browserMs);
  const answer = (hubMs, tookMs = 200) => {
    browserMs = hubMs + ahead + tookMs / 2;
    clock.observe(Math.floor(hubMs / 1000) * 1000, browserMs - tookMs, browserMs);
  };
  return { clock, answer };
}

test("A browser's clock that is off by more than 10 s is told, once, and its time is the hub's.", () => {
  for (const ahead of [-3_600_000, -15_000, 15_000, 86_400_000]) {
    const { clock, answer } = clockOff(ahead);
    let told = 0;
    clock.addEventListener("change", () => (told += 1));
    for (let seconds = 0; seconds < 20; seconds += 1) answer(HUB + seconds * 1000 + 137 * (seconds % 7));
    ok(clock.isOff && told === 1, `${ahead}`);
    ok(Math.abs(clock.offsetMs + ahead) <= 1000, `${ahead}: ${clock.offsetMs}`);
  }
});

test("A clock off by less than a second is not told, and never corrected by more than it is off.", () => {
  const { clock, answer } = clockOff(400);
  for (const [at, took] of [
    [0, 10],
    [1300, 5000],
    [9999, 50],
  ])
    answer(HUB + at, took);
  ok(!clock.isOff && clock.offsetMs <= 0 && clock.offsetMs >= -400, `${clock.offsetMs}`);
  const before = clock.offsetMs;
  clock.observe(Number.NaN, HUB, HUB);
  equal(clock.offsetMs, before);
});

test("A clock that was set meanwhile is measured anew.", () => {
  let browserMs = HUB + 60_000;
  const clock = new HubClock(() => browserMs);
  clock.observe(HUB, browserMs - 10, browserMs);
  ok(clock.isOff);
  browserMs = HUB + 5000;
  clock.observe(HUB + 5000, browserMs - 10, browserMs);
  equal(clock.isOff, false);
});

test("A relative range follows the hub's clock.", () => {
  const pageRange = new PageRange({ range: { from: "now-1h", to: "now" }, clock: { now: () => HUB } });
  equal(pageRange.span(), { fromMs: HUB - 3_600_000, toMs: HUB });
});

test("Every answer of a service shows the hub's time.", async () => {
  const seen = [];
  const client = new Client({
    fetch: async () => new Response("{}", { headers: { Date: new Date(HUB).toUTCString() } }),
    now: () => HUB + 5,
    clock: { observe: (...times) => seen.push(times) },
  });
  await client.ubs("GET", "/api/v1/session");
  equal(seen, [[HUB, HUB + 5, HUB + 5]]);
});
