"""One target on its own aligned schedule, written like other samples.

    wait until due ─▶ scrape ─▶ series, stale markers, up ─▶ pipeline.ingest ─▶ finish_scrape
    stop ─▶ a stale marker for every series that is alive

Source: docs/contracts.md, section 2 (home organisation); Prometheus `scrape/scrape.go`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

import anyio
from prometheus_client import Counter

from data_ingest.background.supervisor import Stop
from data_ingest.chassis.identity import Limits
from data_ingest.chassis.kinds import ServiceError
from data_ingest.model import Outcome, SampleBatch
from data_ingest.scrape.fetch import Failure
from data_ingest.scrape.page import ScrapeResult, failure_of, report_series
from data_ingest.scrape.series import Matched, TargetSeries
from data_ingest.scrape.state import DUPLICATES, NOT_STORED, REFUSED, TargetState
from data_ingest.scrape.targets import next_round_ms

STALE_MARKERS_TIMEOUT_S: Final = 2.0
TOLERANCE: Final = 0.01
"""A scrape that starts late by at most this part of its interval carries the scheduled time.

Even steps make small deltas.
"""

DUPLICATE_SAMPLES: Final = Counter(
    "cloudopshub_scrape_duplicate_samples_total",
    "Samples left out because an earlier one of the page has the same series and time.",
    ["job"],
)

Clock = Callable[[], float]


class Ingest(Protocol):
    """`Pipeline.ingest`."""

    async def __call__(
        self, tenant: UUID, decoded: SampleBatch, limits: Limits, protocol: str
    ) -> Outcome:
        """What became of the samples, once that is durable."""


@dataclass(slots=True)
class TargetLoop:
    """Scrapes one target: `scrape` brings its page, `ingest` writes for `tenant`."""

    state: TargetState
    series: TargetSeries
    tenant: UUID
    scrape: Callable[[], Awaitable[ScrapeResult]]
    ingest: Ingest
    offset_ms: int
    clock: Clock = time.time
    ends_series: bool = True

    async def run(self, stop: Stop) -> None:
        """The target is scraped each interval until stopped; after that its series have ended.

        Unless `ends_series` was unset: then another loop goes on with them.
        """
        interval_ms = self.state.target.reading.interval_ms
        due_ms = next_round_ms(self._now_ms(), interval_ms, self.offset_ms)
        while not await stop.wait((due_ms - self._now_ms()) / 1000):
            started_ms = self._now_ms()
            is_on_time = 0 <= started_ms - due_ms <= interval_ms * TOLERANCE
            await self._scrape_once(due_ms if is_on_time else started_ms)
            due_ms = next_round_ms(max(self._now_ms(), due_ms), interval_ms, self.offset_ms)
        if not self.ends_series:
            return
        markers = self.series.stale_markers(self._now_ms())
        if markers.samples:
            async with asyncio.timeout(STALE_MARKERS_TIMEOUT_S):
                await self.ingest(self.tenant, markers, Limits(), "scrape")
        self.series.finish_scrape(durable=True)

    async def _scrape_once(self, at_ms: int) -> None:
        """The scrape is durable; when it could not be written, its series still end later."""
        result = await self.scrape()
        matched, failure, batch = await anyio.to_thread.run_sync(self._prepare, result, at_ms)
        self.state.scraped(at_ms, result.duration_s, failure)
        self._say_duplicates(matched)
        durable = False
        try:
            outcome = await self.ingest(self.tenant, batch, Limits(), "scrape")
            durable = True
        except ServiceError as error:
            self.state.conditions.begin(NOT_STORED, type(error).__name__, str(error))
            return
        finally:
            scraped = matched.scraped if matched else None
            self.series.finish_scrape(durable=durable, scraped=scraped)
        self.state.conditions.end(NOT_STORED)
        if outcome.refused_total:
            cause, samples = " ".join(sorted(outcome.refused)), outcome.refused_total
            self.state.conditions.begin(
                REFUSED, cause, outcome.first_error or cause, samples=samples
            )
        else:
            self.state.conditions.end(REFUSED)

    def _prepare(
        self, result: ScrapeResult, at_ms: int
    ) -> tuple[Matched | None, Failure | None, SampleBatch]:
        """What is written of the scrape; samples that cannot be taken fail it as a whole."""
        matched, failure = None, result.failure
        try:
            if result.samples is not None:
                matched = self.series.match(result.samples, at_ms)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next scrape is tried
            failure = failure_of(error)
        if failure or not matched:
            report = report_series(result.duration_s, is_up=False)
        else:
            report = report_series(
                result.duration_s,
                is_up=True,
                samples=len(matched.scraped),
                kept=matched.kept,
                added=matched.added,
            )
        return matched, failure, self.series.batch(matched, at_ms, report)

    def _say_duplicates(self, matched: Matched | None) -> None:
        if matched is None:
            return
        if not matched.duplicates:
            self.state.conditions.end(DUPLICATES)
            return
        pool = self.state.target.pool
        DUPLICATE_SAMPLES.labels(pool).inc(matched.duplicates)
        reason = f"{matched.duplicates} samples repeat an earlier one of the page: the first counts"
        self.state.conditions.begin(DUPLICATES, "repeated", reason, samples=matched.duplicates)

    def _now_ms(self) -> int:
        return int(self.clock() * 1000)
