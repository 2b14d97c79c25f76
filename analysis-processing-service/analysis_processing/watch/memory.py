"""What a watch remembers: a detector a chunk of series, as of one column.

    stored:  state as of a column, a payload a chunk      seldom: about 21 KB a series
             journal: the columns judged since            each step: 8 bytes a series
    loaded:  the state, then the journal judged again; a detector judges the same in any pieces,
             so what is loaded equals what was stored

A payload is zstd over `u32 length | header JSON | body`.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cramjam
import numpy as np

from analysis_processing.analyses.anomaly.run import Detector, findings
from analysis_processing.frames import F64, series_name
from analysis_processing.model import Finding, Labels

CHUNK_ROWS = 256
LEVEL = 1
Judged = tuple[Labels, Finding, bool]
"""A series, an episode of it, and whether it is a new one."""


@dataclass(slots=True)
class Chunk:
    """A detector and its series: names, and when each had its last sample."""

    detector: Detector
    names: list[str] = field(default_factory=list)
    seen_ms: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Memory:
    """Chunks of a watch; rows of a block are their series, one chunk after another.

    next_ms: the first column that was not judged. journal_steps: columns judged since the state
    was stored.
    """

    params: Mapping[str, Any]
    step_ms: int
    next_ms: int
    chunks: list[Chunk] = field(default_factory=list)
    journal_steps: int = 0

    @property
    def names(self) -> list[str]:
        """Every series, in the order of rows."""
        return [name for chunk in self.chunks for name in chunk.names]

    @property
    def size(self) -> int:
        """Series, weighed by the columns a day that their detectors know: 1 each at a minute."""
        return len(self.names) * max(1, 60_000 // self.step_ms)

    def welcome(self, names: Iterable[str], series_max: int) -> list[str]:
        """Series that are new and have a place from here on: by name, up to `series_max` in all."""
        present = set(self.names)
        new = sorted(set(names) - present)[: max(series_max - len(present), 0)]
        self._grow(new)
        return new

    def aligned(self, answer: Sequence[tuple[Labels, F64]], steps: int) -> F64:
        """The answer as a block (series, steps) of the rows; NaN where it has none."""
        by_name = {series_name(labels): values for labels, values in answer}
        empty = np.full(steps, np.nan)
        names = self.names
        block = np.array([by_name.get(name, empty) for name in names], dtype=np.float64)
        return block.reshape(len(names), steps)

    def judge(self, values: F64, live_ms: int = 0) -> list[Judged]:
        """Episodes that began, went on or ended in the next columns (series, steps).

        Those whose last unusual sample is before `live_ms` are left out.
        """
        first_step, steps, first = self.next_ms // self.step_ms, values.shape[1], 0
        judged: list[Judged] = []
        for chunk in self.chunks:
            block = values[first : first + len(chunk.names)]
            first += len(chunk.names)
            episodes = [
                episode
                for episode in chunk.detector.advance(block, first_step).episodes
                if episode.end_step * self.step_ms >= live_ms
            ]
            shown = findings(episodes, self.step_ms)
            judged += [
                (json.loads(chunk.names[episode.series]), finding, episode.opened)
                for episode, finding in zip(episodes, shown, strict=True)
            ]
            is_there = ~np.isnan(block)
            last = steps - 1 - np.argmax(is_there[:, ::-1], axis=1)
            for row in np.flatnonzero(is_there.any(axis=1)).tolist():
                chunk.seen_ms[row] = self.next_ms + int(last[row]) * self.step_ms
        self.next_ms += steps * self.step_ms
        self.journal_steps += steps
        return judged

    def forget(self, before_ms: int) -> list[Labels]:
        """Series without a sample since `before_ms`, which are remembered no longer."""
        gone: list[Labels] = []
        for chunk in self.chunks:
            rows = [row for row, seen_ms in enumerate(chunk.seen_ms) if seen_ms >= before_ms]
            if len(rows) < len(chunk.names):
                gone += [json.loads(chunk.names[row]) for row in _others(rows, len(chunk.names))]
                chunk.names = [chunk.names[row] for row in rows]
                chunk.seen_ms = [chunk.seen_ms[row] for row in rows]
                chunk.detector = chunk.detector.arranged(rows)
        self.chunks = [chunk for chunk in self.chunks if chunk.names]
        return gone

    def payloads(self) -> list[bytes]:
        """The whole state, a payload a chunk; the journal begins anew."""
        self.journal_steps = 0
        header = {"next_ms": self.next_ms}
        return [
            packed(
                {**header, "names": chunk.names, "seen_ms": chunk.seen_ms}, chunk.detector.save()
            )
            for chunk in self.chunks
        ]

    @classmethod
    def loaded(
        cls,
        params: Mapping[str, Any],
        step_ms: int,
        next_ms: int,
        state: Sequence[bytes],
        journal: Sequence[bytes],
    ) -> "Memory":
        """What was stored up to `next_ms`; raises ValueError for what does not lead there."""
        memory = cls(params, step_ms, next_ms)
        for payload in state:
            header, body = unpacked(payload)
            memory.next_ms = header["next_ms"]
            memory.chunks.append(Chunk(Detector.load(body), header["names"], header["seen_ms"]))
        for number, payload in enumerate(journal):
            header, body = unpacked(payload)
            if number == 0 and not state:
                memory.next_ms = header["first_ms"]
            if header["first_ms"] != memory.next_ms:
                raise ValueError(f"the journal goes on at {header['first_ms']}")
            memory._grow(header["new"])
            values = np.frombuffer(body, dtype="<f8").reshape(-1, header["steps"])
            memory.judge(values)
        if memory.next_ms != next_ms:
            raise ValueError(f"the journal ends at {memory.next_ms}, not {next_ms}")
        return memory

    def _grow(self, new: Sequence[str]) -> None:
        for chunk in self.chunks:
            room = CHUNK_ROWS - len(chunk.names)
            if new and room > 0:
                more, new = new[:room], new[room:]
                rows = [*range(len(chunk.names)), *[-1] * len(more)]
                chunk.detector = chunk.detector.arranged(rows)
                self._place(chunk, more)
        for first in range(0, len(new), CHUNK_ROWS):
            more = new[first : first + CHUNK_ROWS]
            self.chunks.append(Chunk(Detector(len(more), self.params, self.step_ms)))
            self._place(self.chunks[-1], more)

    def _place(self, chunk: Chunk, names: Sequence[str]) -> None:
        chunk.names += names
        chunk.seen_ms += [self.next_ms] * len(names)


def journal_entry(new: Sequence[str], first_ms: int, values: F64) -> bytes:
    """Columns that were judged from `first_ms` on, after the `new` series got their places."""
    header = {"first_ms": first_ms, "steps": values.shape[1], "new": list(new)}
    return packed(header, values.astype("<f8").tobytes())


def packed(header: Mapping[str, Any], body: bytes) -> bytes:
    """A payload."""
    head = json.dumps(header, separators=(",", ":")).encode()
    raw = b"".join((struct.pack("<I", len(head)), head, body))
    return bytes(cramjam.zstd.compress(raw, level=LEVEL))


def unpacked(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of a payload."""
    raw = bytes(cramjam.zstd.decompress(payload))
    (length,) = struct.unpack_from("<I", raw)
    return json.loads(raw[4 : 4 + length]), raw[4 + length :]


def _others(rows: Sequence[int], count: int) -> list[int]:
    return sorted(set(range(count)).difference(rows))
