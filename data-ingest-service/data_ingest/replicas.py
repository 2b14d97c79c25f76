"""Pairs of identical senders: of one cluster's replicas, the elected one is stored. Pure.

    labels {cluster="c", __replica__="a", …} ─▶ (c, a) ─▶ group 1 of the tenant
    cached id of the series:   bits 0-47 series id (0: not known yet) │ bits 48-62 group, 0: none

The group travels with the id, so a known series costs nothing to recognise, and a request may mix
replicas. A series is stored without its replica label.
Source: docs/adr/0024-limits-and-deletion.md.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from data_ingest.model import I64, RawLabels

GROUP_SHIFT: Final = 48
ID_MASK: Final = (1 << GROUP_SHIFT) - 1
GROUPS_MAX: Final = 1024
"""(cluster, replica) pairs of one tenant that a process knows, and asks Postgres about."""
CHARACTERS_MAX: Final = 512
"""Of the two values together."""
PASSIVE: Final = -(1 << 62)
"""In the place of a series id: these samples are not stored."""
TOO_MANY_REPLICAS: Final = "too_many_replicas"


class Standing(Enum):
    """What becomes of a replica's samples: stored, dropped as duplicates, or refused."""

    ELECTED = 1
    PASSIVE = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class Replica:
    """Values of the two labels."""

    cluster: str
    name: str


@dataclass(frozen=True, slots=True)
class ReplicaLabels:
    """The names of the two labels; with an empty `replica` there are no pairs."""

    cluster: bytes = b""
    replica: bytes = b""


class Groups:
    """One tenant's replicas by number, from 1 on. Safe to use from several threads."""

    def __init__(self) -> None:
        self.replicas: list[Replica] = []
        self._numbers: dict[Replica, int] = {}
        self._lock = threading.Lock()

    def number(self, replica: Replica) -> int:
        """The number of this replica; 0 when there are GROUPS_MAX others."""
        with self._lock:
            if replica not in self._numbers and len(self.replicas) < GROUPS_MAX:
                self.replicas.append(replica)
                self._numbers[replica] = len(self.replicas)
            return self._numbers.get(replica, 0)


class Recognition:
    """The replicas of one request. standing: as far as it was decided lately; else None."""

    def __init__(
        self,
        labels: ReplicaLabels,
        groups: Groups,
        standing: Callable[[Replica], Standing | None],
    ) -> None:
        self._labels = labels
        self.replica_label = labels.replica
        self._groups = groups
        self._standing = standing
        self.decided: dict[Replica, Standing] = {}
        self.undecided: set[Replica] = set()
        """What is made of the request before these are decided is of no use."""

    def without_groups(self, cached_ids: I64) -> I64:
        """The series ids of rows: PASSIVE where their replica is, 0 where it is refused."""
        if not self._groups.replicas:
            return cached_ids.copy()
        series_ids: I64 = cached_ids & ID_MASK
        groups = cached_ids >> GROUP_SHIFT
        for number in np.unique(groups[groups > 0]).tolist():
            standing = self._decided(self._groups.replicas[number - 1])
            if standing is not Standing.ELECTED:
                series_ids[groups == number] = PASSIVE if standing is Standing.PASSIVE else 0
        return series_ids

    def recognise(self, raw: RawLabels) -> tuple[RawLabels, int, Standing]:
        """The labels to be stored, the group of the series, and what becomes of it.

        Labels without both names belong to no replica: group 0, elected.
        """
        replica = self._replica(raw) if self._labels.replica else None
        if replica is None:
            return raw, 0, Standing.ELECTED
        is_short = len(replica.cluster) + len(replica.name) <= CHARACTERS_MAX
        group = self._groups.number(replica) if is_short else 0
        standing = self._decided(replica) if group else Standing.REFUSED
        rest = [(name, value) for name, value in raw if name != self._labels.replica]
        return rest, group, standing

    def _replica(self, raw: RawLabels) -> Replica | None:
        replica = cluster = b""
        for name, value in raw:
            if name == self._labels.replica:
                replica = value
            elif name == self._labels.cluster:
                cluster = value
        if not (replica and cluster):
            return None
        return Replica(_text(cluster), _text(replica))

    def _decided(self, replica: Replica) -> Standing:
        standing = self.decided.get(replica) or self._standing(replica)
        if standing is None:
            self.undecided.add(replica)
            return Standing.PASSIVE
        self.decided[replica] = standing
        return standing


def _text(value: bytes) -> str:
    """As Postgres takes it."""
    return value.decode(errors="replace").replace("\0", "\ufffd")
