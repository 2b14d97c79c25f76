"""The background of the service: which tasks there are, and what each is given.

    scrape       one replica: every target and the host, for the home organisation
    imports      every replica, `import_workers` at once; one of a tenant at a time
    compaction   every replica; a tenant is compacted by one at a time
    rollups      every replica, under the same lock: days that are over
    upkeep       partitions; replaced and orphaned objects; retention; exemplars; readings of usage
    usage        one replica: hours of usage, reported to ubs and split by team

Each has a Postgres connection of its own; the writer's is never shared.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from data_ingest.background import compaction, upkeep
from data_ingest.background.compaction import CompactionSettings
from data_ingest.background.compaction_health import CompactionHealth
from data_ingest.background.leadership import lead
from data_ingest.background.supervisor import Stop, Supervisor, every
from data_ingest.chassis.clock import Clock
from data_ingest.chassis.identity.billing import Billing
from data_ingest.imports.worker import Worker
from data_ingest.retention.rounds import keep_retention
from data_ingest.retention.series import Reach
from data_ingest.rollups.rounds import roll_up_due
from data_ingest.scrape.scraper import Scraper
from data_ingest.settings import Settings
from data_ingest.store import catalogue, imports, tables
from data_ingest.store.objects import ObjectStore
from data_ingest.store.partitions import server_now
from data_ingest.usage import delivery, record
from data_ingest.usage.attribution import Attribution

STOP_TIMEOUT_S: Final = 5.0
USAGE_INTERVAL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Background:
    """What the tasks work with; made by `app`."""

    settings: Settings
    scraper: Scraper
    objects: ObjectStore
    clock: Clock
    billing: Billing
    compaction_health: CompactionHealth
    import_worker: Worker

    @property
    def database_url(self) -> str:
        """As the adapters take it."""
        return self.settings.database_url.get_secret_value()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Supervisor]:
        """The tasks run inside the block and have ended after it; none if DIS_BACKGROUND is off."""
        supervisor = Supervisor()
        if self.settings.background:
            supervisor.start("upkeep", self._upkeep)
            supervisor.start("compaction", self._compaction)
            supervisor.start("usage", self._usage)
            for n in range(self.settings.import_workers):
                supervisor.start(f"imports {n}", self.import_worker.run)
            if self.settings.rollup_resolutions_ms:
                supervisor.start("rollups", self._rollups)
            supervisor.start("scrape", self._scrape)
        try:
            yield supervisor
        finally:
            await supervisor.stop(STOP_TIMEOUT_S)

    async def _scrape(self, stop: Stop) -> None:
        await lead(stop, self.database_url, "scrape", self.scraper.run)

    async def _usage(self, stop: Stop) -> None:
        attribution = Attribution(self.objects, self.billing)

        async def once() -> None:
            async with catalogue.connected(self.database_url, "usage") as conn:
                await delivery.deliver(conn, self.billing)
                await attribution.split_due(conn)

        await lead(
            stop, self.database_url, "usage", lambda mine: every(mine, USAGE_INTERVAL_S, once)
        )

    async def _compaction(self, stop: Stop) -> None:
        settings = self.settings
        compaction_settings = CompactionSettings(
            settings.compaction_delay_s, settings.compaction_samples_max, settings.block_bytes_max
        )
        with self.compaction_health.noting_failure():
            async with catalogue.connected(self.database_url, "compaction") as conn:
                reach = Reach()

                async def once() -> bool:
                    last = await compaction.compact_due(
                        conn, self.objects, compaction_settings, self.clock.now_ms, reach
                    )
                    self.compaction_health.ended(last)
                    return last.is_behind

                await every(stop, settings.compaction_interval_s, once)

    async def _rollups(self, stop: Stop) -> None:
        settings = self.settings

        async def once() -> bool:
            resolutions_ms, days = settings.rollup_resolutions_ms, settings.retention_days
            async with catalogue.connected(self.database_url, "rollups") as conn:
                return await roll_up_due(
                    conn, self.objects, resolutions_ms, days, self.clock.now_ms()
                )

        await every(stop, settings.rollup_interval_s, once)

    async def _upkeep(self, stop: Stop) -> None:
        swept_s = 0.0

        async def once() -> None:
            nonlocal swept_s
            async with catalogue.connected(self.database_url, "upkeep") as conn:
                now = await server_now(conn)
                await upkeep.keep_partitions(conn, now)
                await upkeep.delete_replaced(conn, self.objects)
                # Of two clocks the earlier: one that is years ahead must not delete.
                now_ms = min(int(now.timestamp() * 1000), self.clock.now_ms())
                await keep_retention(conn, self.objects, self.settings.retention_days, now_ms)
                await record.read_stored_bytes(conn)
                await conn.execute(imports.FORGET)
                for statement in tables.DELETE_OLD:
                    await conn.execute(statement)
                await upkeep.trim_exemplars(conn, now_ms)
                if time.monotonic() - swept_s >= self.settings.objects_sweep_interval_s:
                    await upkeep.sweep_orphans(conn, self.objects, self.clock.now_ms())
                    swept_s = time.monotonic()

        await every(stop, self.settings.partition_interval_s, once)
