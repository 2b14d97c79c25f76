import { escapeLabel } from "../../src/api/prometheus.js";
import {
  buildQuery,
  errorOffset,
  fullName,
  kindOf,
  packFilters,
  quote,
  selector,
  shortNames,
  unpackFilters,
} from "../../src/state/query.js";
import { search, searchIndex } from "../../src/state/search.js";
import { afterLogin, formatHash, parseHash } from "../../src/state/url.js";
import { isolate, keyOf, packHidden, toggle, unpackHidden } from "../../src/state/visibility.js";
import { equal, ok, test } from "./harness.js";

test("A label's value survives quotes, backslashes and line breaks.", () => {
  equal(quote('a"b\\c\nd'), '"a\\"b\\\\c\\nd"');
  equal(selector("up", [{ label: "job", op: "=~", value: "a|b" }]), 'up{job=~"a|b"}');
});

test("Names outside of the classic alphabet stand quoted inside the braces.", () => {
  equal(
    selector("http.server.duration", [{ label: "service.name", op: "=", value: "x" }]),
    '{"http.server.duration","service.name"="x"}',
  );
  equal(selector("", []), "{}");
  equal(selector("up"), "up");
});

test("Counters become rates, histograms a quantile, gauges stay.", () => {
  equal(buildQuery({ metric: "http_requests_total" }), "rate(http_requests_total[$__rate_interval])");
  equal(
    buildQuery({ metric: "http_requests_total", by: "code" }),
    "sum by (code) (rate(http_requests_total[$__rate_interval]))",
  );
  equal(
    buildQuery({ metric: "t_seconds_bucket", by: "route" }),
    "histogram_quantile(0.95, sum by (le, route) (rate(t_seconds_bucket[$__rate_interval])))",
  );
  equal(buildQuery({ metric: "temp", by: "room" }), "avg by (room) (temp)");
  equal(kindOf("odd_total", "gauge"), "gauge");
});

test("Filters pass through the URL unchanged, and rubbish is no filter.", () => {
  const filters = [{ label: "a", op: "!=", value: 'x,"y"&=ü' }];
  equal(unpackFilters(packFilters(filters)), filters);
  equal(unpackFilters("{]"), []);
  equal(unpackFilters('[["a","==","b"]]'), []);
});

test("A legend says only what differs between series.", () => {
  equal(
    shortNames([
      { __name__: "up", job: "a" },
      { __name__: "up", job: "b" },
    ]),
    ["a", "b"],
  );
  equal(
    shortNames([
      { job: "a", cpu: "0" },
      { job: "a", cpu: "1", mode: "x" },
    ]),
    ["cpu=0", "cpu=1 mode=x"],
  );
  equal(shortNames([{ __name__: "up" }]), ["up"]);
  equal(shortNames([{}], "total"), ["total"]);
  equal(fullName({ __name__: "up", b: "2", a: "1" }), 'up{a="1", b="2"}');
});

test("The place an error names is found in a query of many lines.", () => {
  equal(errorOffset("1:5: parse error: x", "sum(bad(x))"), 4);
  equal(errorOffset('invalid parameter "query": 2:3: parse error', "sum(\n  bad)"), 7);
  equal(errorOffset("unexpected token at position 7", "0123456789"), 7);
  equal(errorOffset("too many samples needed=5", "up"), null);
  equal(errorOffset("1:99: parse error", "up"), 2);
});

test("A hash and its route are two spellings of one thing.", () => {
  const route = { path: ["explore", "a/b"], params: { q: 'sum(rate(x{a="b c"}[5m])) + 1 & 2', from: "now-1h" } };
  equal(parseHash(formatHash(route)), route);
  equal(formatHash({ path: ["x"], params: { a: "", b: null, c: 0 } }), "#/x?c=0");
  equal(parseHash("#/setup/a%zz"), { path: ["setup", "a%zz"], params: {} });
});

test("After signing in one goes where one wanted, but not through a door again.", () => {
  equal(afterLogin("#/explore?q=up"), "#/explore?q=up");
  equal(
    [afterLogin(""), afterLogin(undefined), afterLogin("#/login"), afterLogin("#/setup/x")],
    ["#/overview", "#/overview", "#/overview", "#/overview"],
  );
});

test("A click isolates a series and a second one shows all again.", () => {
  const keys = ["a", "b", "c"];
  const alone = isolate(new Set(), keys, "b");
  equal(alone, new Set(["a", "c"]));
  equal(isolate(alone, keys, "b"), new Set());
  equal(toggle(alone, keys, "a"), new Set(["c"]));
  equal(toggle(new Set(["a", "b"]), keys, "c"), new Set());
});

test("What is hidden is written in the shorter of two ways and read back.", () => {
  const keys = ["a", "b", "c", "d"];
  for (const hidden of [new Set(), new Set(["a"]), new Set(["a", "b", "c"])])
    equal(unpackHidden(packHidden(hidden, keys), keys), hidden);
  equal(packHidden(new Set(["a", "b", "c"]), keys).only, "d");
  equal(unpackHidden({ only: "gone" }, keys), new Set());
  ok(keyOf("up{a}") !== keyOf("up{b}"));
});

test("Search wants every word and puts word starts first.", () => {
  const index = searchIndex(["node_cpu_seconds_total", "process_cpu_seconds_total", "cpu_temp", "up"]);
  equal(search(index, "cpu").hits[0], "cpu_temp");
  equal(search(index, "sec NODE").hits, ["node_cpu_seconds_total"]);
  equal(search(index, "").total, 4);
});

test("A hundred thousand names are searched whole, and few are shown.", () => {
  const index = searchIndex(Array.from({ length: 100_000 }, (_, n) => `service_${n % 997}_metric_${n}_seconds_total`));
  const found = search(index, "metric 99999 sec");
  equal(found.hits, ["service_299_metric_99999_seconds_total"]);
  ok(search(index, "metric").total === 100_000 && search(index, "metric").hits.length < 1_000);
});

test("A label outside of the classic alphabet is escaped for the path.", () => {
  equal(escapeLabel("job"), "job");
  equal(escapeLabel("http.status_code"), "U__http_2e_status__code");
});
