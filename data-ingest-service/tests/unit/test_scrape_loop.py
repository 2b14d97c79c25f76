"""Laws of a target's loop: when it is scraped, what is stored, and when a person is told."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import structlog

from data_ingest.background.supervisor import Stop
from data_ingest.chassis.identity import Limits
from data_ingest.errors import StoreUnavailable
from data_ingest.model import Outcome, SampleBatch
from data_ingest.scrape.fetch import Failure
from data_ingest.scrape.loop import TargetLoop
from data_ingest.scrape.page import ScrapeResult
from data_ingest.scrape.samples import ScrapedSamples
from data_ingest.scrape.scraper import home_tenant
from data_ingest.scrape.series import Matched, TargetSeries
from data_ingest.scrape.state import TargetState
from tests.scrapes import rows, scraped, target

TENANT = uuid.UUID(int=1)


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


class Store:
    """Takes what is written; `outcomes` says what becomes of each write, the rest is stored."""

    def __init__(self, *outcomes: Any) -> None:
        self.written: list[dict[str, tuple[int, Any]]] = []
        self._outcomes = iter(outcomes)

    async def __call__(
        self, tenant: uuid.UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        assert (tenant, protocol, limits) == (TENANT, "scrape", Limits())
        self.written.append(rows(decoded))
        outcome = next(self._outcomes, None)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or Outcome(decoded.samples)

    def values(self) -> list[dict[str, Any]]:
        """Of each write: metric name → value."""
        return [
            {name.split("{")[0]: value for name, (_, value) in batch.items()}
            for batch in self.written
        ]


async def _run(
    pages: Iterable[str | Failure],
    store: Store,
    *,
    offset_ms: int = 0,
    take_s: Callable[[], float] = lambda: 0.0,
) -> TargetState:
    """The state after one scrape of each page, and the stop."""
    clock, coming = Clock(), list(pages)
    stop = PatientStop(clock, len(coming))

    async def scrape() -> ScrapeResult:
        clock.now_s += take_s()
        page = coming.pop(0)
        if isinstance(page, Failure):
            return ScrapeResult(None, 0.1, page)
        return ScrapeResult(scraped(page), 0.1)

    one = target("http://u:s3cret@h:1/metrics?token=s3cret")
    state = TargetState(one)
    await TargetLoop(state, TargetSeries(one.labels), TENANT, scrape, store, offset_ms, clock).run(
        stop
    )
    return state


async def test_a_target_is_scraped_until_the_stop() -> None:
    """A target is scraped each interval at aligned times, a failed write does not end it, and the
    stop ends its series.
    """
    store = Store(None, StoreUnavailable())
    await _run(["a 1\n", "a 2\n", "b 3\n"], store, offset_ms=1000, take_s=lambda: 0.5)
    about = {"scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"}
    about.add("scrape_samples_post_metric_relabeling")
    shown = [
        {(n.split("{")[0], at, v) for n, (at, v) in batch.items() if n.split("{")[0] not in about}
        for batch in store.written
    ]
    assert shown == [
        {("a", 1_001_000, 1.0), ("up", 1_001_000, 1.0)},
        {("a", 1_006_000, 2.0), ("up", 1_006_000, 1.0)},
        {("a", 1_011_000, "stale"), ("b", 1_011_000, 3.0), ("up", 1_011_000, 1.0)},
        {("b", 1_016_000, "stale"), ("up", 1_016_000, "stale")},
    ]


DOWN = {
    "up": 0.0,
    "scrape_duration_seconds": 0.1,
    "scrape_samples_scraped": 0.0,
    "scrape_samples_post_metric_relabeling": 0.0,
    "scrape_series_added": 0.0,
}


@pytest.mark.parametrize(
    "page", ['a{x="1",x="2"} 1\n', Failure("status", "it answered 500", "it answered 500")]
)
async def test_a_failed_scrape_says_so(page: Any) -> None:
    """A page that does not come, or whose labels are broken, is written as `up` 0 and nothing."""
    store = Store()
    state = await _run([page], store)
    assert store.values()[0] == DOWN
    assert state.facts()["health"] == "down"
    assert state.facts()["lastError"]


async def test_the_series_about_a_scrape() -> None:
    """Prometheus' five: what came, what was kept, what is new; of equal samples both count."""
    store = Store()
    await _run(["a 1\nb 2\na 3\n", "a 1\n"], store)
    first, second = ({n: v for n, v in values.items() if n != "b"} for values in store.values()[:2])
    assert first == {
        "a": 1.0,
        "up": 1.0,
        "scrape_duration_seconds": 0.1,
        "scrape_samples_scraped": 3.0,
        "scrape_samples_post_metric_relabeling": 3.0,
        "scrape_series_added": 2.0,
    }
    assert second["scrape_series_added"] == 0.0


async def test_an_empty_page_is_up() -> None:
    """A page without samples is a scrape that worked."""
    store = Store()
    state = await _run(["# TYPE a counter\n"], store)
    assert store.values()[0] == DOWN | {"up": 1.0}
    assert state.health == "up"


REFUSED = Outcome(1, {"invalid_labels": 1}, first_error="too many labels")
NO_ANSWER = Failure("timeout", "timeout", "no answer within 4 s")
CUT = [Failure("unreadable", "cut", f"it was cut (offset={offset})") for offset in (5, 9)]


@pytest.mark.parametrize(
    ("pages", "outcomes", "lines"),
    [
        (["a 1\n"] * 3, [], []),
        ([NO_ANSWER] * 3, [], ["target_down"]),
        ([*CUT, "a 1\n", "a 1\n"], [], ["target_down", "target_up"]),
        ([NO_ANSWER, CUT[0], NO_ANSWER], [], ["target_down"] * 3),
        (["a 1\n"] * 3, [REFUSED] * 3, ["scrape_samples_refused"]),
        (
            ["a 1\n"] * 3,
            [StoreUnavailable(), StoreUnavailable(), None],
            ["scrape_not_stored", "scrape_stored_again"],
        ),
        (
            ["a 1\na 2\n"] * 2 + ["a 1\n"],
            [],
            ["scrape_duplicate_samples", "scrape_duplicate_samples_gone"],
        ),
    ],
    ids=["well", "down", "down_and_up", "causes", "refused", "not_stored", "duplicates"],
)
async def test_a_change_is_logged_once(pages: Any, outcomes: Any, lines: list[str]) -> None:
    """A condition has one line when it begins, when its cause changes and when it ends; numbers in
    the reason that differ at each scrape are no change, and no line has a credential.
    """
    with structlog.testing.capture_logs() as logged:
        state = await _run(pages, Store(*outcomes))
    assert [entry["event"] for entry in logged] == lines
    assert all((entry["job"], entry["instance"]) == ("j", "h:1") for entry in logged)
    assert "s3cret" not in f"{logged} {state.facts()}"


async def test_the_state_of_a_target() -> None:
    """Prometheus' fields: what it is, how it is, why, and since when."""
    never = TargetState(target()).facts()
    assert (never["health"], never["lastScrape"]) == ("unknown", "0001-01-01T00:00:00Z")
    assert (await _run(["a 1\n", NO_ANSWER], Store())).facts() == {
        "discoveredLabels": {
            "__address__": "h:1",
            "__metrics_path__": "/metrics",
            "__param_token": "<hidden>",
            "__scheme__": "http",
            "__scrape_interval__": "5s",
            "__scrape_timeout__": "4s",
            "job": "j",
        },
        "labels": {"instance": "h:1", "job": "j"},
        "scrapePool": "j",
        "scrapeUrl": "http://h:1/metrics?token=<hidden>",
        "globalUrl": "http://h:1/metrics?token=<hidden>",
        "lastError": "no answer within 4 s",
        "lastScrape": "1970-01-01T00:16:50.000Z",
        "lastScrapeDuration": 0.1,
        "health": "down",
        "scrapeInterval": "5s",
        "scrapeTimeout": "4s",
    }


async def test_the_home_organisation_is_waited_for() -> None:
    """Nothing is scraped before an organisation owns it; a ubs that is away is asked again."""
    answers = iter([StoreUnavailable(), None, TENANT])

    async def find() -> uuid.UUID | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    clock = Clock()
    assert await home_tenant(PatientStop(clock, 9), find) == TENANT
    assert clock.now_s == 1002.0


async def test_a_mistake_of_ours_ends_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples on which our code fails are `up` 0 and said once; the next scrape is made."""
    match = TargetSeries.match

    def broken(series: TargetSeries, samples: ScrapedSamples, at_ms: int) -> Matched:
        if samples.values[0] < 3:
            raise ArithmeticError("odd")
        return match(series, samples, at_ms)

    monkeypatch.setattr(TargetSeries, "match", broken)
    store = Store()
    with structlog.testing.capture_logs() as logged:
        await _run(["a 1\n", "a 2\n", "a 3\n"], store)
    assert [batch["up"] for batch in store.values()] == [0.0, 0.0, 1.0, "stale"]
    assert store.values()[2]["a"] == 3.0
    assert [(line["event"], line.get("reason")) for line in logged] == [
        ("target_down", "ArithmeticError: odd"),
        ("target_up", None),
    ]
