import { Questions } from "../../src/api/questions.js";
import { ApiError } from "../../src/api/client.js";
import { equal, ok, refuses, test } from "./harness.js";

const question = (query) => ({ query, start: 0, end: 10, step: 1 });

/** Questions whose moment ends when `flush` is called; each query is answered by its own text. */
function moment({ sendAll = async (questions) => questions.map(({ query }) => query) } = {}) {
  const sent = [];
  const signals = [];
  let end = null;
  const asked = new Questions({
    sendAll: (questions, signal) => {
      sent.push(questions.map(({ query }) => query));
      signals.push(signal);
      return sendAll(questions, signal);
    },
    sendOne: async ({ query }) => {
      sent.push(query);
      return query;
    },
    later: (act) => {
      end = act;
    },
  });
  return { asked, sent, signals, flush: () => end() };
}

test("What is asked in one moment is one request, the same question once, and each has its own answer.", async () => {
  const { asked, sent, flush } = moment();
  const answers = ["a", "b", "a"].map((query) => asked.ask(question(query)));
  flush();
  equal(await Promise.all(answers), ["a", "b", "a"]);
  const next = asked.ask(question("a"));
  flush();
  equal(await next, "a");
  equal(sent, [["a", "b"], "a"]);
});

test("One that is refused fails alone.", async () => {
  const failure = new ApiError("no", { kind: "bad_data", status: 400 });
  const { asked, flush } = moment({ sendAll: async () => ["fine", failure] });
  const [first, second] = ["a", "b"].map((query) => asked.ask(question(query)));
  flush();
  equal(await first, "fine");
  await refuses(second, (error) => error === failure);
});

test("What is too much together is asked one by one; a hub that is away is not asked again.", async () => {
  for (const [status, sent] of [
    [422, [["a", "b"], "a", "b"]],
    [404, [["a", "b"], "a", "b"]],
    [503, [["a", "b"]]],
  ]) {
    const failure = new ApiError("no", { status, kind: "any" });
    const shown = moment({
      sendAll: () => Promise.reject(failure),
    });
    const answers = ["a", "b"].map((query) => shown.asked.ask(question(query)));
    shown.flush();
    const settled = await Promise.allSettled(answers);
    equal(
      settled.map(({ value }) => value),
      status === 503 ? [undefined, undefined] : ["a", "b"],
    );
    equal(shown.sent, sent, String(status));
  }
});

test("Who leaves is let go at once; the request is given up when nobody waits for it.", async () => {
  const { asked, sent, signals, flush } = moment({ sendAll: () => new Promise(() => {}) });
  const [early, one, other] = [0, 1, 2].map(() => new AbortController());
  const answers = [
    asked.ask(question("early"), early.signal),
    asked.ask(question("a"), one.signal),
    asked.ask(question("b"), other.signal),
  ];
  early.abort();
  flush();
  equal(sent, [["a", "b"]]);
  one.abort();
  await refuses(answers[1], ({ name }) => name === "AbortError");
  ok(!signals[0].aborted);
  other.abort();
  ok(signals[0].aborted);
  const outcomes = await Promise.allSettled(answers);
  ok(outcomes.every(({ status }) => status === "rejected"));
});

test("A request has no more queries than das takes.", async () => {
  const { asked, sent, flush } = moment();
  const answers = Array.from({ length: 130 }, (_, number) => asked.ask(question(String(number))));
  flush();
  equal((await Promise.all(answers)).length, 130);
  equal(
    sent.map((queries) => queries.length),
    [64, 64, 2],
  );
});
