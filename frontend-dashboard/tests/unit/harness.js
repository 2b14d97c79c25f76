/** The smallest test harness: laws are registered by `test`, run by `run`, compared by `equal`. */

const laws = [];

/** Registers one law; its name is the law. */
export function test(name, body) {
  laws.push({ name, body });
}

/** Deep equality; NaN equals NaN, -0 equals 0, a missing property is undefined. */
export function same(a, b) {
  if (a === b || (typeof a === "number" && typeof b === "number" && Number.isNaN(a) && Number.isNaN(b))) return true;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return false;
  if (a instanceof Set && b instanceof Set) return a.size === b.size && [...a].every((item) => b.has(item));
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => same(a[name], b[name]));
}

export function equal(actual, expected, about = "") {
  if (!same(actual, expected))
    throw new Error(`${about}${about && ": "}got ${show(actual)}, expected ${show(expected)}`);
}

export function ok(condition, about = "not true") {
  if (!condition) throw new Error(about);
}

export async function refuses(promise, matches) {
  try {
    await promise;
  } catch (error) {
    ok(matches(error), `refused with ${error.name} ${error.message}`);
    return;
  }
  throw new Error("was not refused");
}

function show(value) {
  return JSON.stringify(value instanceof Set ? [...value] : value, (_, inner) =>
    typeof inner === "number" && !Number.isFinite(inner) ? String(inner) : inner,
  );
}

/** Runs what was registered: name → null, or what went wrong. */
export async function run() {
  const outcomes = {};
  for (const { name, body } of laws.splice(0)) {
    try {
      await body();
      outcomes[name] = null;
    } catch (error) {
      outcomes[name] = error.stack ?? String(error);
    }
  }
  return outcomes;
}
