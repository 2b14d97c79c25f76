"""Labelled synthetic series: what monitoring data looks like, and exactly where it goes wrong.

Each maker returns (values, spans): a float64 series and the half-open index spans that are unusual.
Used by the tests and by benchmarks/bench_anomaly.py; seeds are fixed by the caller.
"""

from collections.abc import Callable

import numpy as np

Span = tuple[int, int]
DAY = 288  # samples of 5 minutes
LEAD = 3 * DAY  # no anomaly before: two days to learn, one on trial
LENGTH = 10 * DAY


def positions(rng: np.random.Generator, count: int) -> list[int]:
    """Places for `count` anomalies: after the lead, well apart, away from the end."""
    slots = np.arange(LEAD + 20, LENGTH - 60, 150)
    return sorted(int(at) for at in rng.choice(slots, size=count, replace=False))


def daily(rng: np.random.Generator, amplitude: float = 5.0) -> np.ndarray:
    """A working day: a broad wave with a sharper second harmonic, the same each day."""
    phase = 2 * np.pi * (np.arange(LENGTH) % DAY) / DAY + rng.uniform(0, 2 * np.pi)
    return amplitude * (np.sin(phase) + 0.4 * np.sin(2 * phase))


def noise(rng: np.random.Generator, sigma: float = 1.0) -> np.ndarray:
    """Independent normal noise."""
    return rng.normal(0.0, sigma, LENGTH)


def with_spikes(
    rng: np.random.Generator, base: np.ndarray, size: float = 10.0
) -> tuple[np.ndarray, list[Span]]:
    """Five single-sample to three-sample spikes, up and down."""
    values, spans = base.copy(), []
    for at in positions(rng, 5):
        width = int(rng.integers(1, 4))
        values[at : at + width] += size * rng.choice([-1.0, 1.0])
        spans.append((at, at + width))
    return values, spans


def with_shift(
    rng: np.random.Generator, base: np.ndarray, size: float = 9.0
) -> tuple[np.ndarray, list[Span]]:
    """One lasting change of level; its onset is what must be told."""
    at = positions(rng, 1)[0]
    values = base.copy()
    values[at:] += size
    return values, [(at, at + 12)]


def with_dips(
    rng: np.random.Generator, base: np.ndarray, size: float = 9.0
) -> tuple[np.ndarray, list[Span]]:
    """Three outages of 30 samples: the level falls and comes back."""
    values, spans = base.copy(), []
    for at in positions(rng, 3):
        values[at : at + 30] -= size
        spans.append((at, at + 30))
    return values, spans


def missing_peak(rng: np.random.Generator, base: np.ndarray) -> tuple[np.ndarray, list[Span]]:
    """One day whose daily rise does not happen: only the season can know."""
    day = int(rng.integers(5, 9))
    values = base.copy()
    middle = day * DAY + int(np.argmax(base[day * DAY : (day + 1) * DAY]))
    half = DAY // 6
    low = float(np.median(base)) - 4.0
    span = (max(middle - half, 0), min(middle + half, LENGTH))
    values[span[0] : span[1]] = low + rng.normal(0, 0.3, span[1] - span[0])
    return values, [span]


def steps_by_day(rng: np.random.Generator) -> np.ndarray:
    """Business hours: a square wave, on at one third of the day and off at two thirds."""
    phase = np.arange(LENGTH) % DAY
    return np.where((phase > DAY // 3) & (phase < 2 * DAY // 3), 20.0, 5.0) + noise(rng, 0.5)


CASES: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, list[Span]]]] = {
    "noise": lambda r: (100 + noise(r), []),
    "noise_spikes": lambda r: with_spikes(r, 100 + noise(r)),
    "noise_shift": lambda r: with_shift(r, 100 + noise(r)),
    "noise_dips": lambda r: with_dips(r, 100 + noise(r)),
    "daily": lambda r: (50 + daily(r) + noise(r, 0.5), []),
    "daily_spikes": lambda r: with_spikes(r, 50 + daily(r) + noise(r, 0.5), 6.0),
    "daily_shift": lambda r: with_shift(r, 50 + daily(r) + noise(r, 0.5), 6.0),
    "daily_missing_peak": lambda r: missing_peak(r, 50 + daily(r) + noise(r, 0.3)),
    "business_hours": lambda r: (steps_by_day(r), []),
    "business_hours_spikes": lambda r: with_spikes(r, steps_by_day(r), 6.0),
    "heavy_tails": lambda r: (100 + r.standard_t(3, LENGTH), []),
    "drift": lambda r: (np.linspace(0, 500, LENGTH) + noise(r), []),
    "random_walk": lambda r: (1000 + np.cumsum(noise(r)), []),
    "flat": lambda _: (np.full(LENGTH, 7.0), []),
    "two_valued": lambda r: (r.integers(0, 2, LENGTH).astype(float), []),
    "rare_events": lambda r: ((r.random(LENGTH) < 0.01).astype(float), []),
    "up_down": lambda r: with_dips(r, np.ones(LENGTH), 1.0),
    "gaps": lambda r: (np.where(r.random(LENGTH) < 0.2, np.nan, 50 + daily(r) + noise(r, 0.5)), []),
}
