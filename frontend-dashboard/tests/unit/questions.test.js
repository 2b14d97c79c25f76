import { Questions } from "../../src/api/questions.js";
import { ApiError } from "../../src/api/client.js";
import { equal, ok, refuses, test } from "./harness.js";

const question = (query) => ({ query, start: 0, end: 10, step: 1 });

/** Questions whose moment ends when `flush` is called; each query is answered by its own text. */
function moment({ sendAll = async (questions) => questions.map(({ query }) => query) } = {}) {
  const sent = [];
  const signals = [];
  let end = null;
  const questions = new Questions({
    sendAll: (together, signal) => {
      sent.push(together.map(({ query }) => query));
      signals.push(signal);
      return sendAll(together, signal);
    },
    sendOne: async ({ query }) => {
      sent.push(query);
      return query;
    },
    later: (act) => {
      end = act;
    },
  });
  return { questions, sent, signals, flush: () => end() };
}

test("What is asked in one moment is one request, the same question once, and each has its own answer.", async () => {
  const { questions, sent, flush } = moment();
  const answers = ["a", "b", "a"].map((query) => questions.ask(question(query)));
  flush();
  equal(await Promise.all(answers), ["a", "b", "a"]);
  const next = questions.ask(question("a"));
  flush();
  equal(await next, "a");
  equal(sent, [["a", "b"], "a"]);
});

test("One that is refused fails alone.", async () => {
  const failure = new ApiError("no", { kind: "bad_data", status: 400 });
  const { questions, flush } = moment({ sendAll: async () => ["fine", failure] });
  const [first, second] = ["a", "b"].map((query) => questions.ask(question(query)));
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
    const answers = ["a", "b"].map((query) => shown.questions.ask(question(query)));
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
  const { questions, sent, signals, flush } = moment({ sendAll: () => new Promise(() => {}) });
  const [early, one, other] = [0, 1, 2].map(() => new AbortController());
  const answers = [
    questions.ask(question("early"), early.signal),
    questions.ask(question("a"), one.signal),
    questions.ask(question("b"), other.signal),
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
  const { questions, sent, flush } = moment();
  const answers = Array.from({ length: 130 }, (_, number) => questions.ask(question(String(number))));
  flush();
  equal((await Promise.all(answers)).length, 130);
  equal(
    sent.map((queries) => queries.length),
    [64, 64, 2],
  );
});
