import { indexOf, nextIndex } from "../../src/charts/reading.js";
import { placed } from "../../src/elements/popover.js";
import { equal, ok, test } from "./harness.js";

test("Arrow keys go on from the moment they stand on, however the points moved since.", () => {
  const times = [0, 5, 10, 15, 20];
  let readS = null;
  for (let refresh = 0; refresh < 6; refresh += 1) {
    const moved = times.map((time) => time + 5 * refresh);
    const before = readS;
    readS = moved[nextIndex(moved, readS, -1)];
    if (before !== null && before > moved[0]) equal(readS, before - 5);
  }
  equal(nextIndex(times, null, 1), 0);
  equal(nextIndex(times, null, -1), 4);
  equal(nextIndex(times, 10, Infinity), 4);
  equal(nextIndex(times, 10, -Infinity), 0);
  equal(indexOf(times, 12), 2);
  equal(indexOf([], 12), -1);
});

test("A popover lies inside of the window at every width, wherever its button is.", () => {
  const surface = { width: 320, height: 400 };
  for (const width of [360, 375, 640, 1440])
    for (const left of [0, 100, width - 40])
      for (const top of [0, 300, 560])
        for (const align of ["end", "up"]) {
          const button = { left, right: left + 40, top, bottom: top + 32 };
          const at = placed(button, surface, { width, height: 600 }, align);
          ok(at.left >= 8 && at.left + 320 <= width - 8, `${width} ${left}: ${at.left}`);
          ok(at.top >= 8 && at.top + 400 <= 592, `${top}: ${at.top}`);
        }
});
