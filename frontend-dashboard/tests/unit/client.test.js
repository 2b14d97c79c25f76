import { ApiError, Client, errorFrom, isAbort } from "../../src/api/client.js";
import { equal, ok, refuses, test } from "./harness.js";

const json = (body, status = 200, headers = {}) =>
  new Response(status === 204 ? null : JSON.stringify(body), {
    status,
    headers: { "Content-Type": "application/json", ...headers },
  });

/** A backend that hands out numbered tokens; `answers` decides what a service says to one. */
function backend(answers) {
  const calls = [];
  let made = 0;
  const fetch = async (url, init) => {
    calls.push({ url, ...init });
    init.signal?.throwIfAborted();
    if (url === "/api/ubs/api/v1/token") {
      made += 1;
      return json({ token: `t${made}`, expires_in_s: 300 });
    }
    return answers(url, init);
  };
  return { fetch, calls, tokens: () => made };
}

test("However many panels ask, one token an audience is fetched and kept.", async () => {
  const { fetch, tokens } = backend(() => json({ data: 1 }));
  const client = new Client({ fetch });
  await Promise.all(Array.from({ length: 20 }, () => client.service("das", "/x")));
  await client.service("aps", "/x");
  equal(tokens(), 2);
});

test("A token is replaced a minute before it ends.", async () => {
  let now = 0;
  const { fetch, calls, tokens } = backend(() => json({}));
  const client = new Client({ fetch, now: () => now });
  await client.service("das", "/x");
  now = 239_000;
  await client.service("das", "/x");
  equal(tokens(), 1);
  now = 241_000;
  await client.service("das", "/x");
  equal(tokens(), 2);
  equal(calls.at(-1).headers.Authorization, "Bearer t2");
});

test("A refused token is replaced and the request repeated once.", async () => {
  const { fetch, calls } = backend((url, { headers }) =>
    headers.Authorization === "Bearer t1" ? json({ error: "revoked" }, 401) : json({ fine: true }),
  );
  const client = new Client({
    fetch,
    onSignedOut: () => {
      throw new Error("signed out");
    },
  });
  equal(await client.service("das", "/x"), { fine: true });
  equal(calls.filter(({ url }) => url === "/api/das/x").length, 2);
});

test("Refused twice, the person is signed out and the error is told.", async () => {
  let out = 0;
  const { fetch, calls } = backend(() => json({ errorType: "unauthenticated", error: "no" }, 401));
  const client = new Client({
    fetch,
    onSignedOut: () => {
      out += 1;
    },
  });
  await refuses(client.service("das", "/x"), (error) => error.status === 401 && error.message === "no");
  equal([out, calls.filter(({ url }) => url === "/api/das/x").length], [1, 2]);
});

test("The CSRF token goes with unsafe cookie calls only, and never to other services.", async () => {
  const { fetch, calls } = backend(() => json({}));
  const client = new Client({ fetch });
  client.adopt({ csrf_token: "c" });
  await client.ubs("GET", "/a");
  await client.ubs("POST", "/b", {});
  await client.ubs("DELETE", "/c");
  await client.service("das", "/x", { method: "POST", form: { query: "up" } });
  equal(
    calls.map(({ url, headers }) => [url, headers["X-CSRF-Token"]]),
    [
      ["/api/ubs/api/v1/token", "c"],
      ["/api/ubs/a", undefined],
      ["/api/ubs/b", "c"],
      ["/api/ubs/c", "c"],
      ["/api/das/x", undefined],
    ],
  );
});

test("Another session forgets the tokens of the one before.", async () => {
  const { fetch, tokens } = backend(() => json({}));
  const client = new Client({ fetch });
  await client.service("das", "/x");
  client.adopt({ csrf_token: "other" });
  await client.service("das", "/x");
  equal(tokens(), 2);
});

test("A failed token request is not kept.", async () => {
  let fail = true;
  const client = new Client({
    fetch: async (url) => {
      if (!url.endsWith("/token")) return json({ fine: true });
      return fail ? json({ error: "later" }, 503) : json({ token: "t", expires_in_s: 300 });
    },
  });
  await refuses(client.service("das", "/x"), (error) => error.kind === "unavailable");
  fail = false;
  equal(await client.service("das", "/x"), { fine: true });
});

test("Form fields repeat for lists and leave out what is empty.", async () => {
  const { fetch, calls } = backend(() => json({}));
  await new Client({ fetch }).service("das", "/s", {
    params: { "match[]": ["a", "b"], start: undefined, q: "x y", limit: 0 },
  });
  equal(calls.at(-1).url, "/api/das/s?match%5B%5D=a&match%5B%5D=b&q=x+y&limit=0");
});

test("Both shapes of an error, and no shape at all, become one kind of error.", async () => {
  const prometheus = await errorFrom(json({ status: "error", errorType: "bad_data", error: "1:2: no" }, 400));
  equal([prometheus.kind, prometheus.message, prometheus.status], ["bad_data", "1:2: no", 400]);
  const problem = await errorFrom(
    json({ title: "Forbidden", detail: "scope admin is missing", kind: "forbidden" }, 403),
  );
  equal([problem.kind, problem.message], ["forbidden", "scope admin is missing"]);
  const proxy = await errorFrom(new Response("<html>", { status: 503, headers: { "Retry-After": "2" } }));
  equal([proxy.kind, proxy.retryAfterS], ["unavailable", 2]);
});

test("A hub that never answers, or stops in the middle of its answer, is an error in words soon.", async () => {
  const never = (signal) =>
    new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  const late = (error) => error instanceof ApiError && error.kind === "network" && error.message.includes("in time");
  const silent = new Client({ fetch: (url, { signal }) => never(signal), ubsBoundMs: 20 });
  await refuses(silent.ubs("GET", "/api/v1/session"), late);
  await refuses(silent.service("das", "/x"), late);
  const half = new Client({
    fetch: async (url, { signal }) =>
      url.endsWith("/token")
        ? json({ token: "t", expires_in_s: 300 })
        : { ok: true, status: 200, text: () => never(signal) },
    serviceBoundMs: 20,
  });
  await refuses(half.service("das", "/x"), late);
});

test("A network that is not there is an error in words; giving up is not an error to show.", async () => {
  const client = new Client({
    fetch: async () => {
      throw new TypeError("Failed to fetch");
    },
  });
  await refuses(client.ubs("GET", "/x"), (error) => error instanceof ApiError && error.kind === "network");
  const stopped = new AbortController();
  stopped.abort();
  const { fetch } = backend(() => json({}));
  await refuses(new Client({ fetch }).service("das", "/x", { signal: stopped.signal }), (error) => isAbort(error));
  ok(!isAbort(new Error("x")));
});

test("Events come one by one, however the stream is cut; what is no data is passed over.", async () => {
  const pieces = ['event: job\ndata: {"done"', ":1}\n\n: still here\n", '\ndata:{"done":2}\r\n\r\n'];
  const { fetch, calls } = backend(() => {
    const encoder = new TextEncoder();
    return new Response(
      new ReadableStream({
        pull(controller) {
          const piece = pieces.shift();
          if (piece === undefined) controller.close();
          else controller.enqueue(encoder.encode(piece));
        },
      }),
    );
  });
  const seen = [];
  await new Client({ fetch }).events("aps", "/events", (data) => seen.push(data), {});
  equal(seen, [{ done: 1 }, { done: 2 }]);
  equal(calls.at(-1).headers.Accept, "text/event-stream");
});

test("A file comes in the type that was asked for; a refusal tells where in the query.", async () => {
  const refusal = { error: "unknown function", position: 4 };
  const { fetch, calls } = backend((url) => (url.endsWith("bad") ? json(refusal, 400) : new Response("a,b")));
  const client = new Client({ fetch });
  equal(await (await client.file("aps", "/result", "text/csv")).text(), "a,b");
  equal(calls.at(-1).headers.Accept, "text/csv");
  await refuses(client.service("aps", "/bad"), (error) => error.position === 4);
});
