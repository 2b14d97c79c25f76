"""The detector: what is known of a set of series, moved through time a block of columns at a time.

    block (series × time) ─▶ Detector.advance ─▶ expected, limits, score; episodes ─▶ findings

Causal: the judgement of a sample depends on that sample and earlier ones, so a prefix is judged as
it will be for ever, in whatever pieces it arrives and across saved and loaded states.
"""

import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import cramjam
import numpy as np
import numpy.typing as npt

from analysis_processing.analyses.block import F64, I64
from analysis_processing.analyses.parameters import duration_text, season_steps
from analysis_processing.kernels import baseline, detector, episodes, layout, terms

F32 = npt.NDArray[np.float32]
KINDS = ("", "spike", "rhythm", "spread", "drift", "shift", "stuck", "missing")
SIDES = {"both": 0.0, "up": 1.0, "down": -1.0}
DAY_MS = 86_400_000
MINUTE_MS = 60_000
FALSE_WEEKLY = 0.2
LOG_DAILY = 0.055  # false alarms of normal logarithms at FALSE_WEEKLY
BURST = 7.0  # clipped samples in a row that make no shift
STRETCHES_MIN = 24  # of a season; one of fewer, an hour, is over before a slow term sees it
THREAD_POINTS = 100_000  # a block smaller than that is not worth a second thread


@dataclass(frozen=True, slots=True)
class Episode:
    """One alarm: what a series did from its first to its last unusual step, and the worst of it.

    series: its row. start_step may lie before the step that showed it. size: the score at the peak,
    times the size at which alarms begin. value, expected, lower, upper: at the peak, NaN = none.
    direction: up, down or none. usual, shown: the two numbers of its sentence. opened: since the
    last call. closed: quiet for longer than the refractory time.
    """

    series: int
    kind: str
    start_step: int
    end_step: int
    peak_step: int
    size: float
    value: float
    expected: float
    lower: float
    upper: float
    direction: str
    usual: float
    shown: float
    opened: bool
    closed: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What each step was expected to be; all of shape (series, time), NaN where not judged.

    lower, upper: where a single sample becomes an alarm. score: 1 and more is an alarm, by any
    term. episodes: those that this call opened, lengthened or closed, by series, then time.
    """

    expected: F64
    lower: F64
    upper: F64
    score: F64
    episodes: list[Episode]


def rules_of(params: Mapping[str, Any], step_ms: int) -> F64:
    """The parameters as the kernel takes them, in steps and rates; see `kernels.terms`."""
    day = max(DAY_MS / step_ms, 1.0)
    weekly = FALSE_WEEKLY * 50.0 ** (2.0 * params["sensitivity"] - 1.0)
    looks = 7.0 * min(72.0, day)  # a week, of which a slow statistic is another one
    rules = np.zeros(terms.RULES)
    rules[terms.WARM_UP] = params["warm_up"]
    rules[terms.REFRACTORY] = params["refractory"]
    rules[terms.SIDE] = SIDES[params["direction"]]
    rules[terms.RATE] = weekly / 2.0 / (7.0 * day)
    rules[terms.KEEN] = math.log(looks * 2.0 / weekly) / math.log(looks * 2.0 / FALSE_WEEKLY)
    rules[terms.DAY] = day
    rules[terms.DEPTH] = -NormalDist().inv_cdf(LOG_DAILY * (weekly / FALSE_WEEKLY) / day)
    rules[terms.LOG_MEMORY] = max(4000.0, 3.0 * day)
    rules[terms.STRIDE] = max(1.0, round(20 * MINUTE_MS / step_ms))
    rules[terms.GAP_MIN] = max(3.0, math.ceil(10 * MINUTE_MS / step_ms))
    rules[terms.RUN_MIN] = max(10.0, math.ceil(15 * MINUTE_MS / step_ms))
    rules[terms.ACCEPTED] = max(24.0, day / 4.0)
    rules[terms.SUDDEN] = max(4.0, day / 32.0)
    rules[terms.SHARE_MEAN] = min(1.0 / 6.0, 48.0 / day)  # half an hour
    rules[terms.SHARE_SPREAD] = min(1.0 / 9.0, 32.0 / day)
    # no closer are the limits of a shift, in widths (one sample makes none), and of a spread
    rules[terms.NARROW] = max(0.25, BURST * terms.MEAN_CLIPPED * rules[terms.SHARE_MEAN])
    rules[terms.NARROW_LOG] = max(0.25, 2.5 * math.sqrt(rules[terms.SHARE_SPREAD]))
    return rules


def seasons_of(lengths: Sequence[int], step_ms: int) -> I64:
    """(models, 6): see `kernels.baseline`; the first is none. Stretches are 5 minutes or more."""
    rows, first, slow_first = [(0, 1, 0, 1, 0, 0)], 0, 0
    for length in lengths:
        phase_steps = -(-length // baseline.PHASES)
        slow_steps = max(phase_steps, round(5 * MINUTE_MS / step_ms), 1)
        slow = -(-length // slow_steps)
        slow = slow if slow >= STRETCHES_MIN else 0
        rows.append((length, phase_steps, first, slow_steps, slow_first, slow))
        first += -(-length // phase_steps)
        slow_first += slow
    return np.array(rows, dtype=np.int64)


class Detector:
    """Everything known about a set of series so far; advances through time, never back.

    params: the resolved parameters of the kind. About 26 KB a series at a minute's step.
    """

    FORMAT = 4

    def __init__(self, series: int, params: Mapping[str, Any], step_ms: int) -> None:
        self.params = dict(params)
        self.step_ms = step_ms
        self.seasons = season_steps(params["season"], step_ms)
        self._rules = rules_of(params, step_ms)
        self._seasons = seasons_of(self.seasons, step_ms)
        models = len(self._seasons)
        phases = 1 - int((-self._seasons[1:, 0] // self._seasons[1:, 1]).sum())
        slow = int(self._seasons[:, 5].sum())
        state, memory = layout.widths(models, phases, slow)
        self.state: F64 = np.zeros((series, state))
        self.memory: F32 = np.zeros((series, memory), dtype=np.float32)

    def advance(self, values: F64, first_step: int) -> Judgement:
        """The judgement of the next columns; what is known has moved past them.

        values: (series, time), NaN = no sample, ±Inf is one; column i is at `(first_step + i) ×
        step` since the epoch, and follows the last one of the call before. Releases the GIL.
        """
        block = np.ascontiguousarray(values, dtype=np.float64)
        series = len(self.state)
        assert block.shape[0] == series
        threads = max(1, min(os.cpu_count() or 1, block.size // THREAD_POINTS, series))
        bounds = [series * i // threads for i in range(threads + 1)]

        def part(first: int, last: int) -> tuple[F64, F64]:
            room = block.shape[1] // (int(self._rules[terms.REFRACTORY]) + 2) + 2
            events = np.empty(((last - first) * room, episodes.EVENT))
            judged = np.empty((4, last - first, block.shape[1]))
            count = detector.advance(
                block[first:last],
                first_step,
                self._seasons,
                self._rules,
                self.state[first:last],
                self.memory[first:last],
                np.zeros(layout.desk_size(len(self._seasons))),
                np.zeros(len(self._seasons), dtype=np.int64),
                judged,
                events,
            )
            events[:count, 0] += first
            return judged, events[:count].copy()

        if threads == 1:
            judgement, events = part(0, series)
        else:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(part, bounds[:-1], bounds[1:]))
            judgement = np.concatenate([judged for judged, _ in parts], axis=1)
            events = np.concatenate([rows for _, rows in parts])
        expected, lower, upper, score = judgement
        made = [episode_of(row) for row in events.tolist()]
        return Judgement(expected, lower, upper, score, made)

    def facts(self) -> list[dict[str, Any]]:
        """What the last samples of each series were judged by.

        season: of a single sample; reference: of shifts and drifts, None while too little is known;
        seasons are durations, `none` is the recent level. backed_off: times the usual limits.
        """
        judges = np.empty((len(self.state), 3))
        detector.describe(self.state, self.memory, self._seasons, judges)
        names = ("none", *(duration_text(steps * self.step_ms) for steps in self.seasons))
        return [
            {
                "season": names[int(season)],
                "reference": names[int(reference)] if reference >= 0 else None,
                "backed_off": round(louder, 2),
            }
            for season, reference, louder in judges.tolist()
        ]

    def arranged(self, rows: Sequence[int]) -> "Detector":
        """A detector of these series in this order, copied; -1 is a fresh one."""
        made = Detector(len(rows), self.params, self.step_ms)
        old = np.array(rows, dtype=np.int64).reshape(-1)
        copied = old >= 0
        made.state[copied] = self.state[old[copied]]
        made.memory[copied] = self.memory[old[copied]]
        return made

    def save(self) -> bytes:
        """Everything: a line of JSON, then state and memory, little-endian; zstd."""
        head = {
            "format": self.FORMAT,
            "series": len(self.state),
            "params": self.params,
            "step_ms": self.step_ms,
        }
        text = json.dumps(head).encode()
        raw = b"".join(
            (
                struct.pack("<I", len(text)),
                text,
                self.state.astype("<f8").tobytes(),
                self.memory.astype("<f4").tobytes(),
            )
        )
        return bytes(cramjam.zstd.compress(raw, level=1))

    @classmethod
    def load(cls, saved: bytes) -> "Detector":
        """The detector that `save` wrote; raises ValueError for another format."""
        raw = bytes(cramjam.zstd.decompress(saved))
        (length,) = struct.unpack_from("<I", raw)
        head = json.loads(raw[4 : 4 + length])
        if head["format"] != cls.FORMAT:
            raise ValueError(f"detector state of format {head['format']}, not {cls.FORMAT}")
        made = cls(head["series"], head["params"], head["step_ms"])
        split = 4 + length + made.state.nbytes
        if len(raw) != split + made.memory.nbytes:
            raise ValueError(
                f"detector state of {len(raw)} bytes, not {split + made.memory.nbytes}"
            )
        made.state.flat[:] = np.frombuffer(raw[4 + length : split], dtype="<f8")
        made.memory.flat[:] = np.frombuffer(raw[split:], dtype="<f4")
        return made


def episode_of(row: list[float]) -> Episode:
    """An event of the kernel as an episode."""
    at, fields = episodes, row[2:]
    kind = int(fields[at.KIND])
    side = fields[at.SIGN] if kind < terms.STUCK else 0.0
    size, value, expected, lower, upper = fields[at.SIZE : at.SIGN]
    return Episode(
        int(row[0]),
        KINDS[kind],
        int(fields[at.SINCE]),
        int(fields[at.END]),
        int(fields[at.PEAK]),
        size,
        value,
        expected,
        lower,
        upper,
        direction="up" if side > 0 else "down" if side < 0 else "none",
        usual=fields[at.USED],
        shown=fields[at.SEEN_NOW],
        opened=bool(fields[at.NEW]),
        closed=bool(row[1]),
    )
