"""One target on its own aligned schedule, written like other samples.

    wait until due ─▶ scrape ─▶ series, stale markers, up ─▶ pipeline.ingest ─▶ finish_scrape
    stop ─▶ a stale marker for every series that is alive

Source: docs/contracts.md, section 2 (home organisation); Prometheus `scrape/scrape.go`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import anyio

from data_ingest.background.supervisor import Stop
from data_ingest.chassis.identity import Limits
from data_ingest.chassis.kinds import ServiceError
from data_ingest.model import Outcome, SampleBatch
from data_ingest.scrape.fetch import Failure
from data_ingest.scrape.page import ScrapeResult, failure_of
from data_ingest.scrape.series import Matched, TargetSeries
from data_ingest.scrape.state import DUPLICATES, NOT_STORED, REFUSED, TargetState
from data_ingest.scrape.targets import next_round_ms

STALE_MARKERS_TIMEOUT_S: Final = 2.0
TOLERANCE: Final = 0.01
"""A scrape that starts late by at most this part of its interval carries the scheduled time.

Even steps make small deltas.
"""


Clock = Callable[[], float]
Ingest = Callable[[UUID, SampleBatch, Limits, str], Awaitable[Outcome]]
"""`Pipeline.ingest`."""


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
        markers = self.series.batch(None, self._now_ms(), ())
        if markers.samples:
            async with asyncio.timeout(STALE_MARKERS_TIMEOUT_S):
                await self.ingest(self.tenant, markers, Limits(), "scrape")
        self.series.finish_scrape(durable=True)

    async def _scrape_once(self, at_ms: int) -> None:
        """The scrape is durable; when it could not be written, its series still end later."""
        result = await self.scrape()
        matched, failure, batch = await anyio.to_thread.run_sync(self._prepare, result, at_ms)
        self.state.scraped(at_ms, result.duration_s, failure)
        if matched is not None:
            self._say_duplicates(matched.duplicates)
        durable = False
        try:
            outcome = await self.ingest(self.tenant, batch, Limits(), "scrape")
            durable = True
        except ServiceError as error:
            self.state.conditions.say(NOT_STORED, type(error).__name__, str(error))
            return
        finally:
            scraped = matched.scraped if matched else None
            self.series.finish_scrape(durable=durable, scraped=scraped)
        self.state.conditions.say(NOT_STORED, "")
        cause = " ".join(sorted(outcome.refused))
        self.state.conditions.say(
            REFUSED, cause, outcome.first_error, samples=outcome.refused_total
        )

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
        report = {"up": float(matched is not None and failure is None)}
        report["scrape_duration_seconds"] = result.duration_s
        counts = matched if report["up"] else None
        report["scrape_samples_scraped"] = len(counts.scraped) if counts else 0
        report["scrape_samples_post_metric_relabeling"] = counts.kept if counts else 0
        report["scrape_series_added"] = counts.added if counts else 0
        return matched, failure, self.series.batch(matched, at_ms, [*report.items()])

    def _say_duplicates(self, count: int) -> None:
        reason = f"{count} samples repeat an earlier one of the page: the first counts"
        self.state.conditions.say(DUPLICATES, "repeated" if count else "", reason, samples=count)

    def _now_ms(self) -> int:
        return int(self.clock() * 1000)
