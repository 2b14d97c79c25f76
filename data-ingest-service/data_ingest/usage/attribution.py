"""Hours of usage are split by team: what each has stored of an hour, counted in the blocks.

    ubs: rules in order, hours that are due ─▶ series of each team ─▶ samples of the hour ─▶ ubs

A team has the series that its rule selects and no earlier one. Counting reads blocks, not what was
received, so it can be done again when rules change, and adds nothing to a write. The total of an
hour is what was counted when it was stored; ubs splits that. Source:
docs/adr/0040-teams-and-costs.md.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import numpy as np
import structlog

from data_ingest.chassis.identity.billing import Billing
from data_ingest.errors import BadPayload
from data_ingest.model import I64
from data_ingest.selectors import BadSelector, Matcher, parse, selects
from data_ingest.store import catalogue
from data_ingest.store.block_times import BlockTimes
from data_ingest.store.objects import ObjectStore
from data_ingest.store.refs import BlockRef
from data_ingest.usage.counting import HOUR_MS, Span

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


class Owners:
    """Which team each series of a tenant is of, by one version of its rules.

    rules: the team and selector of each; a selector that cannot be read selects nothing.
    faults: why, of each of those.
    teams: their ids, the unattributed last. series_ids: ascending; places: into `teams`, each (n,).
    """

    def __init__(self, version: int, rules: Sequence[Mapping[str, str]]) -> None:
        self.version = version
        self.teams = [*dict.fromkeys(rule["team"] for rule in rules), UNATTRIBUTED]
        self.faults: list[str] = []
        self.series_ids = self.places = np.empty(0, np.int64)
        self._rules: list[tuple[int, Sequence[Matcher]]] = []
        for number, rule in enumerate(rules):
            try:
                self._rules.append((self.teams.index(rule["team"]), parse(rule["selector"])))
            except BadSelector as exc:
                self.faults.append(f"rules[{number}].selector: {exc}"[:FAULT_MAX])

    def add(self, rows: Sequence[tuple[int, str]]) -> None:
        """Series with higher ids than all that are known, and their labels as JSON."""
        places = [self._place(json.loads(labels)) for _, labels in rows]
        ids = [series_id for series_id, _ in rows]
        self.series_ids = np.append(self.series_ids, np.array(ids, np.int64))
        self.places = np.append(self.places, np.array(places, np.int64))

    def places_of(self, series_ids: I64) -> I64:
        """The team of each; a series that is not known is nobody's."""
        if not self.series_ids.size:
            return np.full(series_ids.size, len(self.teams) - 1)
        at = np.minimum(np.searchsorted(self.series_ids, series_ids), self.series_ids.size - 1)
        is_known = self.series_ids[at] == series_ids
        return np.where(is_known, self.places[at], len(self.teams) - 1)

    def _place(self, labels: Mapping[str, str]) -> int:
        of_rules = (place for place, matchers in self._rules if selects([matchers], labels))
        return next(of_rules, len(self.teams) - 1)


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
            owners = await self._series(conn, tenant, due["version"], due["rules"])
            hours = [await self._hour(conn, tenant, owners, hour) for hour in due["hours"]]
            body = {"tenant": due["tenant"], "version": due["version"], "hours": hours,
                    "faults": owners.faults}  # fmt: skip
            await self._billing.ask("PUT", "/internal/attribution", json=body)
            split += len(hours)
        return split

    async def _series(
        self, conn: Any, tenant: UUID, version: int, rules: Sequence[Mapping[str, str]]
    ) -> Owners:
        """All series of the tenant by team."""
        owners = self._owners.pop(tenant, None)
        if owners is None or owners.version != version:
            owners = Owners(version, rules)
        is_last = False
        while not is_last:
            last = int(owners.series_ids[-1]) if owners.series_ids.size else 0
            rows = await conn.fetch(_SERIES, tenant, last, SERIES_AT_ONCE)
            is_last = len(rows) < SERIES_AT_ONCE
            await anyio.to_thread.run_sync(owners.add, rows)
        self._owners[tenant] = owners
        while len(self._owners) > TENANTS_MAX or (
            len(self._owners) > 1
            and sum(one.series_ids.size for one in self._owners.values()) > SERIES_MAX
        ):
            self._owners.popitem(last=False)
        return owners

    async def _hour(
        self, conn: Any, tenant: UUID, owners: Owners, hour: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What each team has of the hour, as ubs takes it."""
        first_ms = int(datetime.fromisoformat(hour["hour"]).timestamp() * 1000)
        span = first_ms, first_ms + HOUR_MS - 1
        blocks = await catalogue.live_blocks(conn, tenant, span)
        counted = await anyio.to_thread.run_sync(self._count, blocks, owners, span)
        shares = {
            team: {"samples": int(samples), "series": int(series)}
            for team, samples, series in zip(owners.teams, *counted, strict=True)
            if series
        }
        return {**hour, "shares": shares}

    def _count(self, blocks: Sequence[BlockRef], owners: Owners, span: Span) -> tuple[I64, I64]:
        """Samples and series of each team in the hour. A block that cannot be read has none."""
        samples = np.zeros(len(owners.teams), np.int64)
        seen = [np.empty(0, np.int64)]
        for ref in blocks:
            try:
                with self._objects.reading(ref.object_key) as source:
                    counts = of_span(BlockTimes(source, ref.tail_sha256), span)
            except BadPayload as exc:
                log.warning("attribution_block_unreadable", block_id=ref.block_id, why=str(exc))
                continue
            for ids, samples_of in counts:
                places = owners.places_of(ids)
                samples += np.bincount(places, samples_of, samples.size).astype(np.int64)
                seen.append(ids)
        series = np.unique(np.concatenate(seen))
        return samples, np.bincount(owners.places_of(series), minlength=samples.size)


def of_span(block: BlockTimes, span: Span) -> list[tuple[I64, I64]]:
    """(series, samples in `span`) of each row group of a block, those with any.

    A series is as often in it as it has chunks. Raises BadPayload.
    """
    counts = []
    for group in np.unique(block.chunks(*span).groups).tolist():
        times = block.times(group)
        inside = (times.timestamps_ms >= span[0]) & (times.timestamps_ms <= span[1])
        of_row = np.add.reduceat(inside.astype(np.int64), times.starts[:-1])
        has_any = np.flatnonzero(of_row)
        counts.append((times.series_ids[has_any], of_row[has_any]))
    return counts
