"""Laws of scraping: what is written of each scrape, and when a series ends."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from data_ingest.background import nginx_status, scrape, targets
from data_ingest.background.scrape import ScrapeResult, ScrapeSettings
from data_ingest.background.scraped import (
    Family,
    ScrapedSamples,
    TargetSeries,
    from_exposition,
    from_families,
    with_target_labels,
)
from data_ingest.background.supervisor import Stop
from data_ingest.background.targets import BadTargets, Target, next_round_ms
from data_ingest.chassis.identity import Limits
from data_ingest.errors import StoreUnavailable
from data_ingest.model import STALE_MARKER_BITS, Outcome, SampleBatch
from data_ingest.protocols.prometheus_text import BadExposition, decode

SETTINGS = ScrapeSettings(interval_s=5.0, timeout_s=4.0, body_bytes_max=1_000_000)
TENANT = uuid.UUID(int=1)
UP = [("up", 1.0)]


def _scraped(text: str) -> ScrapedSamples:
    return from_exposition(decode(text.encode()))


def _rows(batch: SampleBatch) -> dict[str, tuple[int, float | str]]:
    """Series → (timestamp, value), a stale marker as 'stale'."""
    bits = batch.values.view(np.uint64).tolist()
    rows = {}
    for i, row in enumerate(batch.series_of.tolist()):
        labels = {name.decode(): value.decode() for name, value in batch.labels_at(row)}
        name = labels.pop("__name__")
        text = name + "{" + ",".join(f"{n}={v}" for n, v in sorted(labels.items())) + "}"
        value = "stale" if bits[i] == STALE_MARKER_BITS else float(batch.values[i])
        rows[text] = (int(batch.timestamps_ms[i]), value)
    assert len(rows) == batch.samples
    return rows


def _series() -> TargetSeries:
    return TargetSeries("j", "h:1")


def test_a_scrape_carries_the_targets_labels() -> None:
    """Each sample has the scrape's time and the target's job and instance.

    What the target itself called so is `exported_job`, `exported_instance`.
    """
    rows = _rows(_series().batch(_scraped('a{job="own",x="1"} 2\nb 3 77\n'), 1000, UP))
    assert rows == {
        "a{exported_job=own,instance=h:1,job=j,x=1}": (1000, 2.0),
        "b{instance=h:1,job=j}": (77, 3.0),
        "up{instance=h:1,job=j}": (1000, 1.0),
    }


def test_exported_labels_never_collide() -> None:
    """A target that has both `job` and `exported_job` keeps both."""
    labels = [(b"__name__", b"a"), (b"job", b"1"), (b"exported_job", b"2")]
    assert with_target_labels(labels, "j", "i") == [
        (b"__name__", b"a"),
        (b"exported_exported_job", b"1"),
        (b"exported_job", b"2"),
        (b"job", b"j"),
        (b"instance", b"i"),
    ]


def test_a_vanished_series_gets_one_stale_marker() -> None:
    """A series that is missing ends at that scrape, once; when it returns, it goes on."""
    series = _series()
    for at, text, expected in (
        (1, "a 1\nb 1\n", {"a": 1.0, "b": 1.0}),
        (2, "a 2\n", {"a": 2.0, "b": "stale"}),
        (3, "a 3\n", {"a": 3.0}),
        (4, "a 4\nb 4\n", {"a": 4.0, "b": 4.0}),
    ):
        rows = _rows(series.batch(_scraped(text), at, UP))
        series.finish_scrape(durable=True)
        shown = {name.split("{")[0]: value for name, (_, value) in rows.items()}
        assert shown == {**expected, "up": 1.0}
        assert all(when == at for when, _ in rows.values())


def test_a_target_that_is_down_ends_its_series_but_not_up() -> None:
    """When a target does not answer, all its series end and `up` is 0."""
    series = _series()
    series.batch(_scraped("a 1\nb 1\n"), 1, UP)
    series.finish_scrape(durable=True)
    rows = _rows(series.batch(None, 2, [("up", 0.0)]))
    assert {name.split("{")[0]: value for name, (_, value) in rows.items()} == {
        "a": "stale",
        "b": "stale",
        "up": 0.0,
    }


def test_series_with_their_own_time_never_go_stale() -> None:
    """A series that brings its own timestamps is not ended by its absence."""
    series = _series()
    series.batch(_scraped("a 1 500\n"), 1000, UP)
    series.finish_scrape(durable=True)
    assert list(_rows(series.batch(_scraped(""), 2000, UP))) == ["up{instance=h:1,job=j}"]


def test_what_was_not_stored_still_ends() -> None:
    """After a failed write the series before it and those of the failed scrape both end later."""
    series = _series()
    series.batch(_scraped("a 1\n"), 1, UP)
    series.finish_scrape(durable=True)
    series.batch(_scraped("b 1\n"), 2, UP)
    series.finish_scrape(durable=False)
    rows = _rows(series.batch(_scraped("c 1\n"), 3, UP))
    assert {name.split("{")[0]: value for name, (_, value) in rows.items()} == {
        "a": "stale",
        "b": "stale",
        "c": 1.0,
        "up": 1.0,
    }


def test_a_stop_ends_everything() -> None:
    """At the stop every series that is alive ends, `up` too, and only once."""
    series = _series()
    series.batch(_scraped("a 1\n"), 1, UP)
    series.finish_scrape(durable=True)
    assert {value for _, value in _rows(series.stale_markers(2)).values()} == {"stale"}
    series.finish_scrape(durable=True)
    assert series.stale_markers(3).samples == 0


def test_a_target_remembers_only_what_it_saw_last() -> None:
    """A target whose series change all the time does not fill the memory."""
    series = _series()
    for i in range(100):
        series.batch(_scraped(f'a{{i="{i}"}} 1\nb{{i="{i}"}} 1 5\n'), i, UP)
        series.finish_scrape(durable=True)
    assert len(series) == 3


def test_metadata_is_written_when_it_changes() -> None:
    """What a target says about its metrics is written when it is new or was not stored before."""
    series = _series()
    scraped = _scraped("# TYPE a counter\na 1\n")
    assert [m.metric_name for m in series.batch(scraped, 1, UP).metadata] == ["a"]
    series.finish_scrape(durable=False, scraped=scraped)
    assert len(series.batch(scraped, 2, UP).metadata) == 1
    series.finish_scrape(durable=True, scraped=scraped)
    assert series.batch(scraped, 3, UP).metadata == ()


def test_equal_texts_of_two_targets_are_two_series() -> None:
    """The cache key of a series depends on its target."""
    one, two = _series(), TargetSeries("j", "h:2")
    assert not np.array_equal(
        one.batch(_scraped("a 1\n"), 1, []).keys, two.batch(_scraped("a 1\n"), 1, []).keys
    )


def test_families_are_samples_of_this_moment() -> None:
    """Metrics of our own making become samples with metadata."""
    scraped = from_families(
        [Family("a", "gauge", "text", [((("x", "é"),), 1.0), ((("x", "\udcff"),), 2.0)])]
    )
    rows = _rows(_series().batch(scraped, 9, []))
    assert rows == {"a{instance=h:1,job=j,x=é}": (9, 1.0), "a{instance=h:1,job=j,x=?}": (9, 2.0)}
    assert scraped.metadata[0].type == "gauge"


def test_targets_of_the_setting() -> None:
    """`job=url` items, blanks around them ignored; the instance is host and port."""
    parsed = targets.parse(" a=http://h:1/metrics , b=https://h/x,c=http://[::1]:9/m,")
    assert [(t.job, t.instance) for t in parsed] == [("a", "h:1"), ("b", "h:443"), ("c", "[::1]:9")]
    assert targets.parse("") == []


@pytest.mark.parametrize("text", ["a", "=http://h", "a=ftp://h", "a=http://", "a=/metrics"])
def test_bad_targets(text: str) -> None:
    """Anything else stops the start and is quoted."""
    with pytest.raises(BadTargets, match="DIS_SCRAPE_TARGETS"):
        targets.parse(text)


def test_targets_of_the_services() -> None:
    """Services whose URL is known are scraped at /metrics, the dashboard at nginx's stub_status."""
    parsed = targets.of_services(
        {"data-api-service": "http://h:1/", "x": None, "frontend-dashboard": "http://h:2"}
    )
    assert [t.url for t in parsed] == ["http://h:1/metrics", "http://h:2/stub_status"]
    assert [t.is_stub_status for t in parsed] == [False, True]


@pytest.mark.parametrize("now", [0, 1, 4999, 5000, 5001, 123_456_789])
def test_rounds_are_aligned(now: int) -> None:
    """The next round is after now, at most one interval away, always at the same place in the
    interval.
    """
    due = next_round_ms(now, 5000, 1234)
    assert now < due <= now + 5000
    assert due % 5000 == 1234
    assert 0 <= Target("a", "http://h").offset_ms(5000) < 5000


STATUS_PAGE = (
    b"Active connections: 3 \nserver accepts handled requests\n 10 11 31 \n"
    b"Reading: 0 Writing: 1 Waiting: 2 \n"
)


def test_stub_status() -> None:
    """Nginx's page becomes the metrics of nginx-prometheus-exporter."""
    values = {family.name: family.samples[0][1] for family in nginx_status.families(STATUS_PAGE)}
    assert values == {
        "nginx_up": 1.0,
        "nginx_connections_active": 3,
        "nginx_connections_accepted": 10,
        "nginx_connections_handled": 11,
        "nginx_http_requests_total": 31,
        "nginx_connections_reading": 0,
        "nginx_connections_writing": 1,
        "nginx_connections_waiting": 2,
    }
    with pytest.raises(BadExposition):
        nginx_status.families(b"<html>404</html>")


async def _scrape(
    handler: Any, url: str = "http://h:1/metrics", settings: ScrapeSettings = SETTINGS
) -> ScrapeResult:
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
        return await scrape.scrape_target(http, Target("j", url), settings)


async def test_an_nginx_without_the_module_is_up() -> None:
    """An nginx built without stub_status answers 404 there: it is up, without numbers."""
    result = await _scrape(
        lambda _: httpx.Response(404, text="no such page"), "http://h:1/stub_status"
    )
    assert dict(result.report)["up"] == 1.0
    assert result.samples is not None
    assert [
        row for row in _rows(_series().batch(result.samples, 1, result.report)) if "nginx" in row
    ] == ["nginx_up{instance=h:1,job=j}"]


async def test_scraping_a_page() -> None:
    """A page is asked for in both formats, read by its content type, and reported on."""

    def page(request: httpx.Request) -> httpx.Response:
        assert "application/openmetrics-text" in request.headers["Accept"]
        assert request.headers["X-Prometheus-Scrape-Timeout-Seconds"] == "4"
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return httpx.Response(
            200, text="a_total 1 1.5\n# EOF\n", headers={"Content-Type": content_type}
        )

    result = await _scrape(page)
    assert result.samples is not None
    assert result.samples.timestamps_ms.tolist() == [1500]
    report = dict(result.report)
    assert (report["up"], report["scrape_samples_scraped"]) == (1.0, 1.0)
    assert report["scrape_duration_seconds"] > 0


async def _never(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


def _unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    "handler",
    [
        lambda _: httpx.Response(500),
        lambda _: httpx.Response(200, text="not { an exposition"),
        lambda _: httpx.Response(200, content=b"a 1\n" * 100),
        lambda _: httpx.Response(302, headers={"Location": "http://elsewhere/"}),
        _unreachable,
        _never,
    ],
    ids=["status", "unreadable", "too_large", "redirect", "unreachable", "timeout"],
)
async def test_a_scrape_that_fails(handler: Any) -> None:
    """Whatever a target does wrong, the scrape is a report with `up` 0."""
    result = await _scrape(handler, settings=replace(SETTINGS, timeout_s=0.05, body_bytes_max=100))
    assert result.samples is None
    assert dict(result.report)["up"] == 0.0


async def test_nginx_that_is_down() -> None:
    """A status page that does not answer leaves `nginx_up` 0."""
    result = await _scrape(lambda _: httpx.Response(502), "http://h:8080/stub_status")
    assert result.samples is not None
    assert result.samples.values.tolist() == [0.0]
    assert dict(result.report)["up"] == 0.0


class Clock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class PatientStop(Stop):
    """A stop that never comes by itself; waiting moves the clock."""

    def __init__(self, clock: Clock, rounds: int) -> None:
        super().__init__()
        self._clock = clock
        self._rounds = rounds

    async def wait(self, seconds: float) -> bool:
        self._clock.now_s += max(0.0, seconds)
        self._rounds -= 1
        if self._rounds < 0:
            self.set()
        return self.is_set


async def _scrape_until(
    stop: Stop, scrape_once: Any, ingest: Any, clock: Any, *, offset_ms: int = 0
) -> None:
    await scrape.scrape_loop(
        stop,
        _series(),
        scrape_once,
        tenant=TENANT,
        ingest=ingest,
        settings=SETTINGS,
        offset_ms=offset_ms,
        clock=clock,
    )


async def test_a_target_is_scraped_until_the_stop() -> None:
    """A target is scraped each interval at aligned times, a failed write does not end it, and the
    stop ends its series.
    """
    clock = Clock()
    written = []
    texts = iter(["a 1\n", "a 2\n", "b 3\n"])

    async def scrape_once() -> ScrapeResult:
        clock.now_s += 0.5
        return ScrapeResult(_scraped(next(texts)), UP)

    async def ingest(
        tenant: uuid.UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        assert (tenant, protocol) == (TENANT, "scrape")
        written.append(_rows(decoded))
        if len(written) == 2:
            raise StoreUnavailable
        return Outcome(decoded.samples)

    stop = PatientStop(clock, rounds=3)
    await _scrape_until(stop, scrape_once, ingest, clock, offset_ms=1000)
    shown = [{(n.split("{")[0], at, v) for n, (at, v) in rows.items()} for rows in written]
    assert shown == [
        {("a", 1_001_000, 1.0), ("up", 1_001_000, 1.0)},
        {("a", 1_006_000, 2.0), ("up", 1_006_000, 1.0)},
        {("a", 1_011_000, "stale"), ("b", 1_011_000, 3.0), ("up", 1_011_000, 1.0)},
        {("b", 1_016_000, "stale"), ("up", 1_016_000, "stale")},
    ]


async def test_labels_that_cannot_be_read_fail_the_scrape() -> None:
    """A body whose labels are broken is a failed scrape: nothing of it is written."""
    written = []

    async def scrape_once() -> ScrapeResult:
        return ScrapeResult(_scraped('a{x="1",x="2"} 1\n'), UP)

    async def ingest(
        tenant: uuid.UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        written.append(_rows(decoded))
        return Outcome(decoded.samples)

    clock = Clock()
    stop = PatientStop(clock, rounds=1)
    await _scrape_until(stop, scrape_once, ingest, clock)
    assert [[value for _, value in rows.values()] for rows in written] == [[0.0], ["stale"]]


async def test_the_home_organisation_is_waited_for() -> None:
    """Nothing is scraped before an organisation owns it; a ubs that is away is asked again."""
    answers = iter([StoreUnavailable(), None, TENANT])

    async def find() -> uuid.UUID | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    clock = Clock()
    assert await scrape.home_tenant(PatientStop(clock, 9), find) == TENANT
    assert clock.now_s == 1002.0
