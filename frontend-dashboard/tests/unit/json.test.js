import { parseInSteps } from "../../src/api/json.js";
import { atOnce } from "../../src/state/steps.js";
import { equal, ok, test } from "./harness.js";

const tricky = ',{"metric":"result":[{"metric":'; // a label may say anything
const matrix = (count, name = "a") => ({
  status: "success",
  data: {
    resultType: "matrix",
    result: Array.from({ length: count }, (_, number) => ({
      metric: { name, tricky, n: String(number) },
      values: Array.from({ length: 360 }, (__, at) => [at, String(at + number)]),
    })),
  },
  warnings: [tricky],
});
const failed = { status: "error", errorType: "execution", error: tricky };

test("However large and of however many parts an answer is, it is read as JSON.parse reads it.", () => {
  for (const answer of [
    { status: "success", data: ["x".repeat(2_000_000)] },
    { status: "success", data: {} },
    matrix(0),
    matrix(500),
    { status: "success", data: [matrix(300), failed, matrix(0), matrix(1), matrix(300, "b")] },
  ])
    equal(atOnce(parseInSteps(JSON.stringify(answer))), answer);
});

test("No piece of a large answer is larger than a frame can read.", () => {
  const { parse } = JSON;
  const pieces = [];
  const text = JSON.stringify(matrix(1000));
  JSON.parse = (piece) => {
    pieces.push(piece.length);
    return parse(piece);
  };
  try {
    atOnce(parseInSteps(text));
  } finally {
    JSON.parse = parse;
  }
  ok(pieces.length > 5 && Math.max(...pieces) < 1_100_000, pieces.join(" "));
});
