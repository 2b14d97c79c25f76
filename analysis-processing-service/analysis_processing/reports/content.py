"""What a report says: each section from data-api-service (das) or from what is stored here."""

import json
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from analysis_processing.analyses import resolved_params
from analysis_processing.analyses.block import Block
from analysis_processing.analyses.changes import run as changes
from analysis_processing.analyses.forecast import run as forecast
from analysis_processing.analyses.robust import clock, short_name
from analysis_processing.chassis.kinds import ServiceError
from analysis_processing.clients.data_api import DataApi
from analysis_processing.clients.http import Door
from analysis_processing.errors import NoData, Refused, Unreachable
from analysis_processing.frames import Grid, series_name
from analysis_processing.jobs.counters import take_rate
from analysis_processing.model import Labels, Request
from analysis_processing.reports.document import Row, Section
from analysis_processing.watch.defaults import DEFAULTS

STEPS = 168
ROWS_MAX = 10
SERIES_MAX = 2_000
HISTORY_STEPS = 336  # hours
HOUR_MS = 3_600_000
AHEAD = "7d"
Stored = tuple[list[tuple[str, str]], Sequence[Mapping[str, Any]], Counter[str], int]
"""Watches (name, query), the largest events, how many there were of each kind, runs."""


@dataclass(frozen=True, slots=True)
class Period:
    """[start_ms, end_ms), whole minutes; in at most about STEPS columns, the last at its end."""

    start_ms: int
    end_ms: int

    @property
    def step_ms(self) -> int:
        """Of a column, whole minutes."""
        return max((self.end_ms - self.start_ms) // STEPS // 60_000, 1) * 60_000

    @property
    def steps(self) -> int:
        """Columns in the period."""
        return (self.end_ms - self.start_ms) // self.step_ms


async def sections(das: Door, period: Period, stored: Stored) -> list[Section]:
    """All of a report; a section without data says so. Raises Unreachable."""
    watches, largest, kinds, runs = stored
    return [
        await section("Availability", availability(das, period)),
        await section("Top changes", top_changes(das, period, watches)),
        await section("Capacity", capacity(das, period)),
        events(largest, kinds),
        await section("Usage", usage(das, period, runs)),
    ]


async def section(title: str, content: Awaitable[Section]) -> Section:
    """The section, or why there is none; raises Unreachable."""
    try:
        return await content
    except Unreachable:
        raise
    except NoData:
        return Section(title, "No data in this period.")
    except ServiceError as error:
        return Section(title, f"Could not be made: {error}")


async def block(
    das: Door, query: str, end_ms: int, steps: int, step_ms: int, series_max: int = SERIES_MAX
) -> Block:
    """The query's series at `steps` columns up to `end_ms`; raw counters as rates.

    Raises NoData, TooManySeries, Refused, Unreachable.
    """
    request = Request("report", query, end_ms - (steps - 1) * step_ms, end_ms, step_ms)
    bounds = {"points_max": SERIES_MAX * 2 * STEPS, "bytes_max": SERIES_MAX * 16 * STEPS}
    grid = Grid(steps, series_max=series_max, **bounds)

    async def report(_steps: int) -> None:
        """Nobody waits for it."""

    await DataApi(das).read(request, grid, report)
    labels, values, _, _ = grid.ordered(partial(take_rate, step_ms=step_ms, types={}))
    return Block(labels, request.start_ms, step_ms, values)


async def availability(das: Door, period: Period) -> Section:
    """The share of checks (`up`) that succeeded, by job and service, and of all over time."""
    of = f"(up[{period.step_ms // 1000}s]))"
    axis = (period.end_ms, period.steps, period.step_ms)
    good = await block(das, "sum by (job, service) (sum_over_time" + of, *axis)
    checks = await block(das, "sum by (job, service) (count_over_time" + of, *axis)
    shares = np.nansum(good.values, axis=1) / np.nansum(checks.values, axis=1)
    counts = np.nansum(checks.values, axis=0)
    chart = np.where(counts > 0, np.nansum(good.values, axis=0) / np.maximum(counts, 1), np.nan)
    overall = np.nansum(good.values) / np.nansum(checks.values)
    rows = [
        Row((name_of(good.labels[at]), f"{shares[at]:.3%}"), (good.values / checks.values)[at])
        for at in np.argsort(shares, kind="stable")[:ROWS_MAX]
    ]
    sentence = (
        f"{overall:.3%} of all checks found their target up; "
        f"{np.count_nonzero(shares == 1)} of {len(shares)} jobs and services always were."
    )
    return Section("Availability", sentence, rows, chart)


async def top_changes(das: Door, period: Period, watches: list[tuple[str, str]]) -> Section:
    """What the watches look at, this period against the one before: analysis `changes`."""
    labels, values, refusals = list[Labels](), [], 0
    steps, step_ms = 2 * period.steps, period.step_ms
    for name, query in watches:
        try:
            room = SERIES_MAX - len(labels)
            answer = await block(das, query, period.end_ms, steps, step_ms, room)
        except NoData:
            continue
        except Unreachable:
            raise
        except ServiceError:
            refusals += 1
            continue
        labels += [one | {"watch": name} for one in answer.labels]
        values.append(answer.values)
    if not values:
        raise NoData
    start_ms = period.end_ms - (steps - 1) * step_ms
    joined = Block(labels, start_ms, step_ms, np.concatenate(values))
    split_at = start_ms + period.steps * step_ms
    params = resolved_params("changes", {"split_at": split_at}, step_ms)
    context = changes.prepare(joined, params)
    summary = changes.conclude(changes.run(joined, params, context).series, params, context)
    place = {series_name(one): at for at, one in enumerate(labels)}
    rows = [
        Row((name_of(one["labels"]), one["text"]), joined.values[place[series_name(one["labels"])]])
        for one in summary["ranked"][:ROWS_MAX]
    ]
    sentence = f"Against the period before, {summary['sentence']}."
    if refusals:
        sentence += f" {refusals} of {len(watches)} watches were left out: too large, or refused."
    return Section("Top changes", sentence, rows)


async def capacity(das: Door, period: Period) -> Section:
    """When disks and memory will be full: analysis `forecast` over two weeks, seven days ahead."""
    rooms = [one for one in DEFAULTS if one.name.startswith("host:") and "available" in one.name]
    query = " or ".join(
        f'label_replace({one.query.format(metric=one.pattern)}, "of", "{one.name.split()[1]}", '
        '"", "")'
        for one in rooms
    )
    room = await block(das, query, period.end_ms, HISTORY_STEPS, HOUR_MS)
    asked = {"full_at": 0, "full_direction": "down", "horizon": AHEAD, "write_back": False}
    params = resolved_params("forecast", asked, HOUR_MS)
    series = forecast.run(room, params, None).series
    summary = forecast.conclude(series, params, None)
    left = [float(row[~np.isnan(row)][-1]) for row in room.values]
    order = sorted(range(len(left)), key=lambda at: (-series[at].score, left[at]))
    rows = [
        Row(
            (
                name_of(room.labels[at]),
                f"{left[at]:.1%} left",
                series[at].findings[0].text if series[at].findings else f"not within {AHEAD}",
            ),
            room.values[at],
        )
        for at in order[:ROWS_MAX]
    ]
    return Section("Capacity", f"Share that is left: {summary['sentence']}", rows)


def events(largest: Sequence[Mapping[str, Any]], kinds: Counter[str]) -> Section:
    """What the watches saw begin in the period."""
    if not largest:
        return Section("Events", "No event began in this period.")
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    rows = [
        Row(
            (
                clock(row["start_ms"]),
                f"{row['kind']} in {row['watch']}",
                name_of(row["labels"]),
                row["text"],
            )
        )
        for row in largest
    ]
    return Section("Events", f"{kinds.total():,} began: {counts}. The largest:", rows)


async def usage(das: Door, period: Period, runs: int) -> Section:
    """What the hub did for the tenant, by its own metrics and counts."""
    rows = [Row(("analysis runs", f"{runs:,}"))]
    try:
        query = f"sum(sum_over_time(scrape_samples_scraped[{period.step_ms // 1000}s]))"
        scraped = await block(das, query, period.end_ms, period.steps, period.step_ms)
        total = np.nansum(scraped.values)
        rows.append(Row(("samples scraped", f"{total:,.0f}"), scraped.values[0]))
    except NoData:
        rows.append(Row(("samples scraped", "no data: nothing is scraped by the hub itself")))
    body = await das.get("/api/v1/status/tsdb", params={"limit": 1})
    try:
        count = int(json.loads(body)["data"]["headStats"]["numSeries"])
    except (ValueError, KeyError, TypeError) as exc:
        raise Refused(service=das.service, detail="no count of series") from exc
    rows.append(Row(("time series now", f"{count:,}")))
    sentence = "Usage by the hub's own counts; what it costs is on the invoices, not in reports."
    return Section("Usage", sentence, rows)


def name_of(labels: Labels) -> str:
    """The series in words."""
    return short_name(labels).strip("{}") or "all"
