import { Prometheus } from "../../src/api/prometheus.js";
import { equal, test } from "./harness.js";

const GRID = { start: 10, end: 10, step: 5 };

/** das, as far as one series of the value 1 goes; what it was asked is written down. */
function das() {
  const questions = [];
  const matrix = (end) => ({ resultType: "matrix", result: [{ metric: {}, values: [[end, "1"]] }] });
  const answers = {
    "/api/v1/query": ({ time }) => ({ resultType: "vector", result: [{ metric: {}, value: [time, "1"] }] }),
    "/api/v1/query_range": ({ end }) => matrix(end),
    "/api/v1/query_ranges": ({ end }) => end.map((one) => ({ status: "success", data: matrix(one) })),
  };
  const service = async (_, path, { form }) => {
    questions.push([path, form]);
    return { status: "success", data: answers[path](form) };
  };
  return { prometheus: new Prometheus({ service }), questions };
}

test("Values at one time are a vector and those of a range are a matrix, asked alone or with others.", async () => {
  const { prometheus, questions } = das();
  const kinds = async (...answers) => (await Promise.all(answers)).map(({ data }) => [data.resultType, data.result]);
  const [vector, matrix] = [
    ["vector", [{ metric: {}, value: [10, "1"] }]],
    ["matrix", [{ metric: {}, values: [[10, "1"]] }]],
  ];
  equal(await kinds(prometheus.query("a", 10)), [vector]);
  equal(await kinds(prometheus.queryRange("a", GRID)), [matrix]);
  equal(await kinds(prometheus.queryAlone("a", 10)), [vector]);
  equal(await kinds(prometheus.query("a", 10), prometheus.queryRange("a", GRID)), [vector, matrix]);
  equal(
    questions.map(([path]) => path.slice("/api/v1/".length)),
    ["query", "query_range", "query", "query_ranges"],
  );
  equal(questions.at(-1)[1], { query: ["a", "a"], start: [10, 10], end: [10, 10], step: [1, 5] });
});
