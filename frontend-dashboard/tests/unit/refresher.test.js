import { Refresher } from "../../src/state/refresher.js";
import { equal, ok, test } from "./harness.js";

/** A refresher whose requests are answered by hand. */
function slow() {
  const asked = [];
  const drawn = [];
  const failures = [];
  const refresher = new Refresher(
    (signal) =>
      new Promise((resolve, reject) => {
        const number = asked.length;
        signal.addEventListener("abort", () => reject(signal.reason));
        asked.push({ signal, reject, answer: () => resolve(() => drawn.push(number)) });
      }),
    (error) => failures.push(error.message),
  );
  return { refresher, asked, drawn, failures };
}

test("A tick never aborts a request: an answer slower than the refresh is waited for and drawn.", async () => {
  const { refresher, asked, drawn } = slow();
  const first = refresher.refresh();
  for (let tick = 0; tick < 5; tick += 1) refresher.refresh();
  equal([asked.length, asked[0].signal.aborted], [1, false]);
  asked[0].answer();
  await first;
  equal(drawn, [0]);
  ok(!refresher.busy);
  refresher.refresh();
  equal(asked.length, 2);
});

test("Another range gives up what is on its way, and a late answer is not drawn.", async () => {
  const { refresher, asked, drawn, failures } = slow();
  const first = refresher.refresh();
  const second = refresher.restart();
  ok(asked[0].signal.aborted);
  asked[0].answer();
  asked[1].answer();
  await Promise.all([first, second]);
  equal([drawn, failures], [[1], []]);
});

test("A failure is told once, and the next tick asks again.", async () => {
  const { refresher, asked, failures } = slow();
  const first = refresher.refresh();
  asked[0].reject(new Error("down"));
  await first;
  equal(failures, ["down"]);
  refresher.refresh();
  equal(asked.length, 2);
});

test("What cannot be seen asks nothing, and once as soon as it is seen.", async () => {
  const { refresher, asked } = slow();
  refresher.seen = false;
  refresher.restart();
  for (let tick = 0; tick < 5; tick += 1) refresher.refresh();
  equal(asked.length, 0);
  refresher.seen = true;
  equal(asked.length, 1);
  refresher.seen = false;
  refresher.seen = true;
  equal(asked.length, 1);
});
