"""Hours of usage are split by team: what each has stored of an hour, counted in the blocks.

    ubs: rules in order, hours that are due ─▶ series of each team ─▶ samples of the hour ─▶ ubs

A team has the series that its rule selects and no earlier one. Counting reads blocks, not what was
received, so it can be done again when rules change, and adds nothing to a write. The total of an
hour is what was counted when it was stored; ubs splits that. Source:
docs/adr/0040-teams-and-costs.md.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import numpy as np
import structlog

from data_ingest.chassis.identity.billing import Billing
from data_ingest.errors import BadPayload
from data_ingest.model import I64
from data_ingest.selectors import BadSelector, Matcher, parse
from data_ingest.store.block_times import BlockTimes
from data_ingest.store.objects import ObjectStore
from data_ingest.usage.counting import HOUR_MS

SERIES_AT_ONCE: Final = 20_000
TENANTS_MAX: Final = 16
"""Whose series are remembered by team."""
SERIES_MAX: Final = 2_000_000
"""That are remembered of all tenants together: 24 MB."""
ROUNDS_MAX: Final = 20
UNATTRIBUTED: Final = ""
FAULT_MAX: Final = 300
"""Characters, as ubs takes them."""

log = structlog.get_logger()

_SERIES: Final = """
SELECT series_id, labels::text AS labels FROM metrics.series
 WHERE tenant_id = $1 AND series_id > $2 ORDER BY series_id LIMIT $3
"""
_BLOCKS: Final = """
SELECT block_id, min_ts, max_ts, object_key, tail_sha256 FROM metrics.block
 WHERE tenant_id = $1 AND replaced_by IS NULL AND resolution_ms = 0
   AND max_ts >= $2 AND min_ts < $3
"""


@dataclass(slots=True)
class Owners:
    """Which team each series of a tenant is of, by one version of its rules.

    faults: rules that cannot be read, and why.
    teams: their ids, the unattributed last. series_ids: ascending; places: into `teams`, each (n,).
    """

    version: int
    teams: list[str]
    rules: list[tuple[int, Sequence[Matcher]]]
    faults: list[str]
    series_ids: I64
    places: I64

    def add(self, rows: Iterable[tuple[int, Mapping[str, str]]]) -> None:
        """Series with higher ids than all that are known."""
        ids, places = [], []
        for series_id, labels in rows:
            ids.append(series_id)
            places.append(self._place(labels))
        self.series_ids = np.concatenate((self.series_ids, np.array(ids, np.int64)))
        self.places = np.concatenate((self.places, np.array(places, np.int64)))

    def places_of(self, series_ids: I64) -> I64:
        """The team of each; a series that is not known is nobody's."""
        if not self.series_ids.size:
            return np.full(series_ids.size, len(self.teams) - 1)
        at = np.minimum(np.searchsorted(self.series_ids, series_ids), self.series_ids.size - 1)
        is_known = self.series_ids[at] == series_ids
        return np.where(is_known, self.places[at], len(self.teams) - 1)

    def _place(self, labels: Mapping[str, str]) -> int:
        for place, matchers in self.rules:
            if all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers):
                return place
        return len(self.teams) - 1


def owners(version: int, rules: Sequence[Mapping[str, str]]) -> Owners:
    """No series yet. A selector that cannot be read selects nothing, and is a fault."""
    teams = [*dict.fromkeys(rule["team"] for rule in rules), UNATTRIBUTED]
    parsed: list[tuple[int, Sequence[Matcher]]] = []
    faults = []
    for place, rule in enumerate(rules):
        try:
            parsed.append((teams.index(rule["team"]), parse(rule["selector"])))
        except BadSelector as exc:
            faults.append(f"rules[{place}].selector: {exc}"[:FAULT_MAX])
    none = np.empty(0, np.int64)
    return Owners(version, teams, parsed, faults, none, none)


class Attribution:
    """Splits hours, and remembers the series of a few tenants by team."""

    def __init__(self, objects: ObjectStore, billing: Billing) -> None:
        self._objects = objects
        self._billing = billing
        self._owners: OrderedDict[UUID, Owners] = OrderedDict()

    async def split_due(self, conn: Any) -> int:
        """How many hours were split, at most ROUNDS_MAX requests' worth. Raises what ubs does."""
        split = 0
        for _ in range(ROUNDS_MAX):
            due = await self._billing.ask("GET", "/internal/attribution")
            if not due:
                return split
            tenant = UUID(due["tenant"])
            series_owners = await self._series(conn, tenant, due["version"], due["rules"])
            hours = [await self._hour(conn, tenant, series_owners, hour) for hour in due["hours"]]
            body = {"tenant": due["tenant"], "version": due["version"], "hours": hours,
                    "faults": series_owners.faults}  # fmt: skip
            await self._billing.ask("PUT", "/internal/attribution", json=body)
            split += len(hours)
        return split

    async def _series(
        self, conn: Any, tenant: UUID, version: int, rules: Sequence[Mapping[str, str]]
    ) -> Owners:
        """All series of the tenant by team."""
        series_owners = self._owners.pop(tenant, None)
        if series_owners is None or series_owners.version != version:
            series_owners = owners(version, rules)
        is_last = False
        while not is_last:
            last = int(series_owners.series_ids[-1]) if series_owners.series_ids.size else 0
            rows = await conn.fetch(_SERIES, tenant, last, SERIES_AT_ONCE)
            is_last = len(rows) < SERIES_AT_ONCE
            pairs = [(row["series_id"], row["labels"]) for row in rows]
            await anyio.to_thread.run_sync(_add, series_owners, pairs)
        self._owners[tenant] = series_owners
        while len(self._owners) > TENANTS_MAX or (
            len(self._owners) > 1
            and sum(one.series_ids.size for one in self._owners.values()) > SERIES_MAX
        ):
            self._owners.popitem(last=False)
        return series_owners

    async def _hour(
        self, conn: Any, tenant: UUID, series_owners: Owners, hour: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What each team has of the hour, as ubs takes it."""
        first_ms = int(datetime.fromisoformat(hour["hour"]).timestamp() * 1000)
        rows = await conn.fetch(_BLOCKS, tenant, first_ms, first_ms + HOUR_MS)
        blocks = [(row["block_id"], row["object_key"], row["tail_sha256"]) for row in rows]
        counted = await anyio.to_thread.run_sync(self._count, blocks, series_owners, first_ms)
        shares = {
            team: {"samples": int(samples), "series": int(series)}
            for team, samples, series in zip(series_owners.teams, *counted, strict=True)
            if series
        }
        return {**hour, "shares": shares}

    def _count(
        self, blocks: Sequence[tuple[int, str, Any]], series_owners: Owners, first_ms: int
    ) -> tuple[I64, I64]:
        """Samples and series of each team in the hour. A block that cannot be read has none."""
        samples = np.zeros(len(series_owners.teams), np.int64)
        seen: list[I64] = []
        for block_id, object_key, tail_sha256 in blocks:
            try:
                with self._objects.reading(object_key) as source:
                    counts = of_hour(BlockTimes(source, tail_sha256), first_ms)
            except BadPayload as exc:
                log.warning("attribution_block_unreadable", block_id=block_id, why=str(exc))
                continue
            places = series_owners.places_of(counts[0])
            samples += np.bincount(places, counts[1], len(series_owners.teams)).astype(np.int64)
            seen.append(counts[0])
        every = np.unique(np.concatenate(seen)) if seen else np.empty(0, np.int64)
        return samples, np.bincount(
            series_owners.places_of(every), minlength=len(series_owners.teams)
        )


def of_hour(block: BlockTimes, first_ms: int) -> tuple[I64, I64]:
    """(series, samples in the hour that begins at `first_ms`) of a block, those with any.

    A series is as often in it as it has chunks. Raises BadPayload.
    """
    last_ms = first_ms + HOUR_MS - 1
    ids, counts = [], []
    for group in np.unique(block.chunks(first_ms, last_ms).groups).tolist():
        times = block.times(group)
        inside = (times.timestamps_ms >= first_ms) & (times.timestamps_ms <= last_ms)
        of_row = np.add.reduceat(inside.astype(np.int64), times.starts[:-1])
        has_any = np.flatnonzero(of_row)
        ids.append(times.series_ids[has_any])
        counts.append(of_row[has_any])
    if not ids:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(ids), np.concatenate(counts)


def _add(series_owners: Owners, rows: Sequence[tuple[int, str]]) -> None:
    series_owners.add((series_id, json.loads(labels)) for series_id, labels in rows)
