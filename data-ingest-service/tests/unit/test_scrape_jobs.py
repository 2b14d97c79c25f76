"""Laws of the file of scrape jobs: what it says, what is refused, and where."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from data_ingest.scrape import jobs
from data_ingest.scrape.jobs import AddressList, Discovered, Job, StaticConfig, discover
from data_ingest.scrape.targets import Target
from data_ingest.scrape.words import BadJobs, duration_s

FOLDER = Path("/etc/hub")


def _read(text: str) -> list[Job]:
    return jobs.read(text, FOLDER / "jobs.yml", 1_000_000)


def _discovered(text: str) -> Discovered:
    (job,) = _read(f"scrape_configs:\n- job_name: j\n{text}")
    configs = job.static_configs
    return discover(job, [AddressList(f"static_configs[{i}]", c) for i, c in enumerate(configs)])


def _target(job: str, targets: str = "[h:1]") -> Target:
    discovered = _discovered(f"{job}\n  static_configs: [{{targets: {targets}}}]")
    assert discovered.faults == ()
    (target,) = discovered.targets
    return target


def test_the_defaults_are_those_of_prometheus() -> None:
    """A job that says nothing is scraped each minute for at most ten seconds, at /metrics over
    http, redirects followed, the page's times kept and its `job` not.
    """
    target = _target("")
    assert (target.url, target.pool, target.tenant) == ("http://h:1/metrics", "j", None)
    assert dict(target.labels) == {"job": "j", "instance": "h:1"}
    assert dict(target.discovered) == {
        "__address__": "h:1",
        "__metrics_path__": "/metrics",
        "__scheme__": "http",
        "__scrape_interval__": "1m",
        "__scrape_timeout__": "10s",
        "job": "j",
    }
    reading = target.reading
    assert (reading.scrape_interval, reading.scrape_timeout, reading.body_size_limit) == (
        60,
        10,
        1_000_000,
    )
    assert reading.honor_timestamps
    assert not reading.honor_labels
    assert target.access.follow_redirects
    assert not target.is_guarded


def test_everything_a_job_can_say() -> None:
    """Each key is taken as Prometheus takes it; a number or truth value may be written bare."""
    target = _target(
        """
  tenant: 00000000-0000-0000-0000-000000000007
  scrape_interval: 1m30s
  scrape_timeout: 250ms
  metrics_path: probe
  scheme: https
  params: {module: [http, second], n: [1]}
  basic_auth: {username: me, password_file: pass}
  tls_config: {ca_file: /ca.pem, insecure_skip_verify: true, server_name: other}
  follow_redirects: false
  honor_labels: true
  honor_timestamps: no
  sample_limit: 5
  label_limit: 6
  body_size_limit: 10KB
  metric_relabel_configs: [{source_labels: [a], action: Drop, regex: 1}]
"""
    )
    assert target.url == "https://h:1/probe?module=http&module=second&n=1"
    assert dict(target.discovered)["__param_module"] == "http"
    assert str(target.tenant).endswith("7")
    reading, access = target.reading, target.access
    assert (reading.scrape_interval, reading.scrape_timeout, reading.body_size_limit) == (
        90,
        0.25,
        10240,
    )
    assert not reading.honor_timestamps
    assert (reading.honor_labels, reading.sample_limit, reading.label_limit) == (True, 5, 6)
    (rule,) = reading.metric_relabel_configs
    assert (rule.action, rule.regex) == ("drop", "1")
    assert access.basic_auth is not None
    assert (access.basic_auth.username, access.basic_auth.password_file) == ("me", FOLDER / "pass")
    tls = access.tls_config
    assert (tls.ca_file, tls.insecure_skip_verify) == (Path("/ca.pem"), True)
    assert tls.server_name == "other"
    assert (access.follow_redirects, target.is_guarded) == (False, True)


@pytest.mark.parametrize(
    ("keys", "offers", "native", "classic"),
    [
        ([], ["openmetrics-text;version=1", "openmetrics-text;version=0", "text/plain"], 0, 1),
        (["scrape_native_histograms: true"],
         ["protobuf", "openmetrics", "openmetrics", "text/plain"], 1, 0),
        (["scrape_native_histograms: true", "always_scrape_classic_histograms: true",
          "scrape_protocols: [PrometheusText0.0.4, PrometheusProto]"],
         ["text/plain;version=0.0.4;q=0.9", "MetricFamily;encoding=delimited;q=0.8"], 1, 1),
    ],
    ids=["texts", "native", "all"],
)  # fmt: skip
def test_what_a_page_is_asked_in(
    keys: list[str], offers: list[str], native: int, classic: int
) -> None:
    """Of the texts OpenMetrics 1.0 is asked for first, and protobuf before it where native
    histograms are wanted; a job, or `global`, may name others. What is not wanted is not read.
    """
    text = "".join(f"\n  {key}" for key in keys)
    job = "scrape_configs:\n- job_name: j"
    for where in (job + text, f"{job}\nglobal:{text}"):
        (made,) = _read(where)
        accepted = made.accept.split(",")
        assert accepted.pop() == "*/*;q=0.1"
        assert len(accepted) == len(offers)
        assert all(offer in header for offer, header in zip(offers, accepted, strict=True))
        assert (made.scrape_native_histograms, made.reads_classic) == (native, classic)


def test_a_token() -> None:
    """`authorization` is sent as its type and what stands in its file, without the line end."""
    access = _target("  authorization: {credentials: s3cret}").access
    assert access.credential() == "Bearer s3cret"
    assert "s3cret" not in repr(access)


def test_relabelling_makes_the_target() -> None:
    """Address, scheme, path, parameters, interval and labels are as relabelling leaves them, labels
    with `__` at their front are not of the series, and those that end empty are none.
    """
    target = _target(
        r"""
  params: {target: [x, y]}
  relabel_configs:
  - {source_labels: [__address__], regex: '(.*):\d+', target_label: __address__, replacement: $1:99}
  - {target_label: __scheme__, replacement: https}
  - {target_label: __metrics_path__, replacement: /a b}
  - {target_label: __param_target, replacement: 'http://h/?a=b'}
  - {target_label: __scrape_interval__, replacement: 30s}
  - {target_label: __meta_x, replacement: x}
  - {target_label: zone, replacement: eu}
  - {target_label: job, replacement: renamed}
  - {target_label: empty, replacement: ''}
"""
    )
    assert target.url == "https://h:99/a%20b?target=http%3A%2F%2Fh%2F%3Fa%3Db&target=y"
    assert target.reading.scrape_interval == 30
    assert dict(target.labels) == {"instance": "h:99", "job": "renamed", "zone": "eu"}
    assert target.pool == "j"


def test_equal_targets_are_one_and_dropped_ones_are_listed() -> None:
    """Of addresses that come to the same target one is scraped; a dropped one is shown as it was
    discovered.
    """
    discovered = _discovered(
        """
  static_configs:
  - {targets: [a, b, a], labels: {zone: eu, job: own, __param_token: s3cret}}
  - {targets: [c]}
  relabel_configs: [{source_labels: [zone], regex: eu, action: keep}]
"""
    )
    assert [dict(target.labels)["instance"] for target in discovered.targets] == ["a", "b"]
    assert {dict(target.labels)["job"] for target in discovered.targets} == {"own"}
    assert {target.url for target in discovered.targets} == {
        f"http://{host}/metrics?token=s3cret" for host in "ab"
    }
    (dropped,) = discovered.dropped
    assert dropped.facts() == {
        "scrapePool": "j",
        "discoveredLabels": dict(dropped.discovered),
    }
    assert dropped.facts()["discoveredLabels"]["__address__"] == "c"


def test_one_bad_address_takes_no_other_with_it() -> None:
    """Of a list, what cannot be scraped is named, without a credential; the rest is scraped."""
    bad = ["h/metrics", "u:s3cret@h", "h:99999", "h:x", "\ud800", ""]
    config = StaticConfig.model_construct(targets=("first", *bad, "last"), labels={})
    (job,) = _read("scrape_configs: [{job_name: j}]")
    discovered = discover(job, [AddressList("here", config)])
    assert [dict(t.labels)["instance"] for t in discovered.targets] == ["first", "last"]
    assert [fault.split(":")[:2] for fault in discovered.faults] == [
        ["here", f" target {number}"] for number in range(2, 8)
    ]
    assert "s3cret" not in str(discovered.faults)


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("scrape_configs: [{job_name: j, scrape_intervall: 5s}]", "scrape_configs[0]",
         "scrape_intervall: not known here; allowed: always_scrape_classic_histograms, auth"),
        ("rule_files: []", "jobs.yml", "allowed: global, scrape_configs"),
        ("scrape_configs: [{job_name: j, tls_config: {cert: x}}]", "scrape_configs[0].tls_config",
         "allowed: ca_file, insecure_skip_verify, server_name"),
        ("scrape_configs: [{}]", "scrape_configs[0].job_name", "Field required"),
        ("scrape_configs: [{job_name: ''}]", "scrape_configs[0].job_name", "at least 1"),
        ("scrape_configs: [{job_name: j}, {job_name: j}]", "jobs.yml", "'j' stands there twice"),
        ("scrape_configs: [{job_name: j, job_name: k}]", "line 1", "job_name stands there twice"),
        ("scrape_configs: [", "line 1", "expected"),
        ("- a", "jobs.yml", "expected a mapping"),
        ("scrape_configs: [{job_name: j, scrape_interval: 5}]", "[0].scrape_interval", "duration"),
        ("scrape_configs: [{job_name: j, scrape_interval: 0s}]", "[0].scrape_interval", "over 0"),
        ("scrape_configs: [{job_name: j, scrape_interval: 5s, scrape_timeout: 6s}]", "'j'",
         "scrape_timeout is over scrape_interval"),
        ("scrape_configs: [{job_name: j, body_size_limit: 5}]", "[0].body_size_limit", "10MB"),
        ("scrape_configs: [{job_name: j, sample_limit: -1}]", "[0].sample_limit", "greater"),
        ("scrape_configs: [{job_name: j, honor_labels: perhaps}]", "[0].honor_labels", "boolean"),
        ("scrape_configs: [{job_name: j, scheme: ftp}]", "[0].scheme", "'http' or 'https'"),
        ("scrape_configs: [{job_name: j, tenant: me}]", "[0].tenant", "UUID"),
        ("scrape_configs: [{job_name: j, scrape_protocols: [Text]}]", "[0].scrape_protocols[0]",
         "'PrometheusProto', 'OpenMetricsText1.0.0'"),
        ("scrape_configs: [{job_name: j, basic_auth: {}, authorization: {}}]", "[0]", "both given"),
        ("scrape_configs: [{job_name: j, authorization: {}}]", "[0]", "needs credentials"),
        ("scrape_configs: [{job_name: j, basic_auth: {password: s3cret, password_file: x}}]",
         "[0]: password", "both given"),
        ("scrape_configs: [{job_name: j, http_sd_configs: [{url: 'http://u:s3cret@h/'}]}]",
         "[0].http_sd_configs[0]", "basic_auth"),
        ("scrape_configs: [{job_name: j, http_sd_configs: [{url: 'ftp://h/'}]}]",
         "[0].http_sd_configs[0]", "http://"),
        ("scrape_configs: [{job_name: j, file_sd_configs: [{files: [a.txt]}]}]",
         "[0].file_sd_configs[0].files[0]", "json|ya?ml"),
        ("scrape_configs: [{job_name: j, relabel_configs: [{action: hop}]}]",
         "[0].relabel_configs[0]", "none of replace, keep"),
        ("scrape_configs: [{job_name: j, relabel_configs: [{regex: '(', target_label: a}]}]",
         "[0].relabel_configs[0]", "not a pattern"),
        ("scrape_configs: [{job_name: j, relabel_configs: [{source_labels: [a]}]}]",
         "[0].relabel_configs[0]", "replace needs target_label"),
        ("scrape_configs: [{job_name: j, relabel_configs: [{action: hashmod, target_label: a}]}]",
         "[0].relabel_configs[0]", "hashmod needs modulus"),
        ("scrape_configs: [{job_name: j, relabel_configs: [{action: labeldrop, modulus: 1}]}]",
         "[0].relabel_configs[0]", "labeldrop does not use modulus"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, where: str, why: str) -> None:
    """A file with a fault is refused, with its name, the place and what is wrong there."""
    with pytest.raises(BadJobs) as raised:
        _read(text)
    shown = str(raised.value)
    assert shown.startswith(f"The scrape jobs cannot be used: {FOLDER}/jobs.yml")
    assert where in shown
    assert why in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    "text", ["", "global:\n", "scrape_configs: []", "global: {scrape_interval: 5s}"]
)
def test_a_file_without_jobs(text: str) -> None:
    """A file may have no jobs; a key without a value is as if it were not there."""
    assert _read(text) == []


def test_yaml_can_be_shared() -> None:
    """Anchors and merges work, as in Prometheus."""
    text = "scrape_configs: [&a {job_name: j, sample_limit: 5}, {<<: *a, job_name: k}]"
    assert [job.sample_limit for job in _read(text)] == [5, 5]


@pytest.mark.parametrize(
    ("given", "seconds"), [("15s", 15), ("1h30m", 5400), ("1d", 86400), ("100ms", 0.1)]
)
def test_durations(given: Any, seconds: float) -> None:
    """Durations are Prometheus'."""
    assert duration_s(given) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "given", ["", "0s", "2y", "366d", "9" * 400 + "y", "9" * 10 + "ms", "1s1h"]
)
def test_what_is_no_duration(given: str) -> None:
    """A text that is none, or that is over a year, is refused however long it is."""
    with pytest.raises(ValueError, match="expected a duration"):
        duration_s(given)


@pytest.mark.parametrize(("tenant", "is_scraped"), [("", True), (f"tenant: {UUID(int=1)}", False)])
def test_a_tenants_job_has_a_shortest_interval(tenant: str, is_scraped: bool) -> None:
    """No list of a tenant's job makes the hub scrape more than once a second; the operator may."""
    (job,) = _read(f"scrape_configs: [{{job_name: j, {tenant}}}]")
    for interval, expected in (("1s", True), ("999ms", is_scraped)):
        labels = {"__scrape_interval__": interval, "__scrape_timeout__": "500ms"}
        config = StaticConfig(targets=("h",), labels=labels)
        assert bool(discover(job, [AddressList("here", config)]).targets) == expected
