"""Laws of recognising replicas: which samples are dropped, and what a process remembers."""

from uuid import UUID

import numpy as np
import pytest

from data_ingest import replicas
from data_ingest.admission import admit
from data_ingest.labels import LabelRules
from data_ingest.limits import TimeSpan
from data_ingest.model import Exemplar, Outcome, SampleBatch, Sender
from data_ingest.protocols import remote_write_2
from data_ingest.protocols.protocol import WriteRequest
from data_ingest.replicas import GROUP_SHIFT, Groups, Recognition, Replica, ReplicaLabels, Standing

LABELS = ReplicaLabels(b"cluster", b"__replica__")
ROWS = [
    [(b"__name__", b"x"), (b"__replica__", b"a"), (b"cluster", b"c")],
    [(b"__name__", b"x"), (b"__replica__", b"b"), (b"cluster", b"c")],
    [(b"__name__", b""), (b"__replica__", b"a"), (b"cluster", b"")],
    [(b"", b"x")],
]


def standing(replica: Replica) -> Standing:
    return Standing.ELECTED if replica.name == "a" else Standing.PASSIVE


@pytest.mark.parametrize("is_known", [False, True])
def test_a_data_point_of_a_dropped_replica_is_not_refused(is_known):
    """Of points with samples stored, dropped, stored and refused, one is refused."""
    groups = Groups()
    numbers = [groups.number(Replica("c", name)) << GROUP_SHIFT for name in "ab"]
    batch = SampleBatch(
        keys=np.arange(8, dtype=np.uint64).reshape(4, 2),
        series_of=np.arange(4),
        timestamps_ms=np.full(4, 5),
        values=np.ones(4),
        labels_at=ROWS.__getitem__,
        points=np.arange(4),
    )
    cached_ids = np.array([numbers[0] | 7, numbers[1], 0, 0] if is_known else [0] * 4)
    prepared = admit(
        Sender(UUID(int=1), "key"),
        batch,
        cached_ids,
        TimeSpan(0, 10),
        LabelRules(128, 1024, 8192),
        recognition=Recognition(LABELS, groups, standing),
    )
    assert prepared.write.samples == 2
    assert prepared.deduplicated == 1
    assert prepared.write.refused == {"invalid_labels": 1}
    assert prepared.refused_points(np.arange(1, 1 + len(prepared.write.new))) == 1
    if is_known:
        assert prepared.write.series_ids.tolist() == [7, -1]
    else:
        assert prepared.new_groups.tolist() == [*numbers, 0]


def test_a_process_remembers_a_bounded_number_of_replicas(monkeypatch):
    """What is over the bound, or has long names, is refused; the known ones keep their numbers."""
    monkeypatch.setattr(replicas, "GROUPS_MAX", 2)
    recognition = Recognition(LABELS, Groups(), lambda _: Standing.ELECTED)

    def recognised(name: bytes) -> tuple[int, Standing]:
        _, group, outcome = recognition.recognise([(b"cluster", b"c"), (b"__replica__", name)])
        return group, outcome

    assert recognised(b"r" * 1000) == (0, Standing.REFUSED)
    for _ in range(2):
        assert [recognised(name) for name in (b"a", b"b", b"c")] == [
            (1, Standing.ELECTED),
            (2, Standing.ELECTED),
            (0, Standing.REFUSED),
        ]


def test_a_dropped_replica_is_told_that_all_kinds_are_written():
    """Senders of remote_write 2.0 compare what was written of each kind with what they sent."""
    batch = SampleBatch(
        keys=np.arange(4, dtype=np.uint64).reshape(2, 2),
        series_of=np.array([0, 1, 1, 1, 1, 1]),
        timestamps_ms=np.full(6, 5),
        values=np.ones(6),
        labels_at=ROWS.__getitem__,
        histogram_at=np.array([0, 2, 3, 4]),
        histograms=[b"message", b"message", b"message", b""],
        exemplars=[Exemplar(row, 5, 1.0, "{}") for row in (0, 1, 1)],
    )
    prepared = admit(
        Sender(UUID(int=1), "key"),
        batch,
        np.zeros(2, np.int64),
        TimeSpan(0, 10),
        LabelRules(128, 1024, 8192),
        recognition=Recognition(LABELS, Groups(), standing),
    )
    assert prepared.deduplicated == 5
    assert prepared.deduplicated_histograms == 3
    assert prepared.deduplicated_exemplars == 2
    outcome = Outcome(
        accepted=1,
        histograms=1,
        exemplars=1,
        deduplicated=prepared.deduplicated,
        deduplicated_histograms=prepared.deduplicated_histograms,
        deduplicated_exemplars=prepared.deduplicated_exemplars,
    )
    answer = remote_write_2.answer(WriteRequest("/api/v1/write"), outcome)
    written = [
        answer.headers[f"x-prometheus-remote-write-{kind}-written"]
        for kind in ("samples", "histograms", "exemplars")
    ]
    assert written == ["2", "4", "3"]
