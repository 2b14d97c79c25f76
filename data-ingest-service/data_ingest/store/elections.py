"""Which replica of a cluster is stored: one row of Postgres says it, for all processes.

    a replica sends ── its own last answer is younger than ASK_S ── that answer
                    └─ else ask: the elected one says that it is there; another is elected once the
                       elected one has not been there for `failover_s`

An answer "elected" is never older than ASK_S, and `failover_s` is more: no two replicas are
elected at once. Source: docs/adr/0024-limits-and-deletion.md.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from data_ingest.replicas import Groups, Recognition, Replica, ReplicaLabels, Standing
from data_ingest.store.shared import SharedDecisions

ASK_S: Final = 5.0
ANSWERS_MAX: Final = 10_000

# $1 tenant, $2 cluster, $3 replica, $4 failover in seconds, $5 clusters of a tenant. A time in the
# future is from before the clock was set back.
_ELECT = """
WITH elected AS (
  INSERT INTO metrics.ha_cluster AS current (tenant_id, cluster, replica)
  SELECT $1, $2, $3
   WHERE (SELECT count(*) FROM metrics.ha_cluster WHERE tenant_id = $1 AND cluster <> $2) < $5
  ON CONFLICT (tenant_id, cluster) DO UPDATE
     SET replica = excluded.replica, seen_at = clock_timestamp()
   WHERE current.replica = excluded.replica
      OR current.seen_at NOT BETWEEN clock_timestamp() - make_interval(secs => $4)
                                 AND clock_timestamp() + make_interval(secs => $4)
  RETURNING replica)
SELECT replica FROM elected
UNION ALL
SELECT replica FROM metrics.ha_cluster WHERE tenant_id = $1 AND cluster = $2
"""


class Elections:
    """The answers of one process. clock: its own seconds."""

    def __init__(
        self,
        shared: SharedDecisions,
        labels: ReplicaLabels,
        *,
        failover_s: float,
        clusters_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert failover_s > ASK_S
        self._shared = shared
        self._labels = labels
        self._failover_s = failover_s
        self._clusters_max = clusters_max
        self._clock = clock
        self._answers: OrderedDict[tuple[UUID, Replica], tuple[Standing, float]] = OrderedDict()

    def recognition(self, tenant: UUID, groups: Groups) -> Recognition:
        """For one request of the tenant."""

        def standing(replica: Replica) -> Standing | None:
            answer, asked_s = self._answers.get((tenant, replica), (None, 0.0))
            return answer if self._clock() < asked_s + ASK_S else None

        return Recognition(self._labels, groups, standing)

    def all_elected(self, groups: Groups) -> Recognition:
        """For what is stored whoever sends it, as history is; nobody is elected by it."""
        return Recognition(self._labels, groups, lambda _: Standing.ELECTED)

    async def decide(self, tenant: UUID, recognition: Recognition) -> None:
        """Its undecided replicas are decided. Raises `DatabaseUnavailable`."""
        for replica in recognition.undecided:
            asked_s = self._clock()
            row = await self._ask(tenant, replica) or await self._ask(tenant, replica)
            standing = Standing.PASSIVE if row else Standing.REFUSED
            if row and row["replica"] == replica.name:
                standing = Standing.ELECTED
            self._answers[tenant, replica] = standing, asked_s
            self._answers.move_to_end((tenant, replica))
            recognition.decided[replica] = standing
        recognition.undecided = set()
        while len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)

    async def _ask(self, tenant: UUID, replica: Replica) -> Any:
        """Twice where two processes bring a new cluster: the later sees no row at first."""
        return await self._shared.fetchrow(
            _ELECT, tenant, replica.cluster, replica.name, self._failover_s, self._clusters_max
        )
