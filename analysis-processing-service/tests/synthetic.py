"""Labelled synthetic series: what monitoring data looks like, and exactly where it goes wrong.

Each maker of CASES returns (values, spans): ten days of 5-minute samples and the half-open index
spans that are unusual. BASES are what is usual, in usual deviations, at any step; KINDS are what
breaks it at a place; ORDINARY are distributions that nothing breaks. Seeds are the caller's.
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


def wave(rng: np.random.Generator, steps: int, a_day: int) -> np.ndarray:
    """A working day at a random phase, a few usual deviations high."""
    phase = 2 * np.pi * (np.arange(steps) / a_day + rng.random())
    return rng.uniform(3, 10) * (np.sin(phase) + 0.3 * np.sin(2 * phase))


def week(steps: int, a_day: int) -> np.ndarray:
    """1 on five days, less on two."""
    return np.where(np.arange(steps) // a_day % 7 < 5, 1.0, 0.6)


def log_noise(rng: np.random.Generator, steps: int, sigma: float = 0.3) -> np.ndarray:
    """Lognormal noise of standard deviation 1, never negative, as latencies are."""
    scale = np.sqrt((np.exp(sigma**2) - 1) * np.exp(sigma**2))
    return rng.lognormal(0.0, sigma, steps) / scale


BASES: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "noise": lambda r, n, _: 50 + r.normal(size=n),
    "daily": lambda r, n, day: 50 + wave(r, n, day) + r.normal(size=n),
    "daily+weekly": lambda r, n, day: 50 + wave(r, n, day) * week(n, day) + r.normal(size=n),
    "lognormal": lambda r, n, _: log_noise(r, n),
    "trend+daily": lambda r, n, day: (
        50 + wave(r, n, day) + np.arange(n) / day * r.uniform(-3, 3) + r.normal(size=n)
    ),
    "40% gaps": lambda r, n, _: np.where(r.random(n) < 0.4, np.nan, 50 + r.normal(size=n)),
}


def scatter(values: np.ndarray, at: int, steps: int, times: float) -> np.ndarray:
    """What the span must be changed by for its distance from its own hourly mean to be `times`."""
    part = values[at : at + steps]
    weights = np.ones(61)
    seen = np.isfinite(part)
    mean = np.convolve(np.where(seen, part, 0.0), weights, "same") / np.maximum(
        np.convolve(seen.astype(float), weights, "same"), 1
    )
    return (times - 1) * (part - mean)


def broken(  # noqa: C901 - a case a kind
    rng: np.random.Generator, values: np.ndarray, kind: str, at: int
) -> tuple[np.ndarray, int]:
    """A copy in which `kind` begins at `at`, one sample a minute; and how long it lasts."""
    made = values.copy()
    sign = rng.choice([-1.0, 1.0])
    steps = {"no data": 60, "spike": 1, "zero": 30, "ramp": 180, "shift 1.5": 360}.get(kind, 360)
    span = slice(at, at + steps)
    clock = np.arange(made[span].size)
    match kind:
        case "shift":
            made[at:] += 3 * sign
        case "shift 1.5":
            made[span] += 1.5 * sign
        case "stuck":
            made[span] = np.where(
                np.isfinite(made[span]), made[:at][np.isfinite(made[:at])][-1], np.nan
            )
        case "no data":
            made[span] = np.nan
        case "wider":
            made[span] += scatter(values, at, steps, 3.0)
        case "narrower":
            made[span] += scatter(values, at, steps, 0.2)
        case "spike":
            made[at] = np.nanmedian(made[max(at - 5, 0) : at + 6]) + 8 * (
                sign if values.min() > 5 else 1
            )
        case "ramp":
            made[at:] += sign * np.minimum(np.arange(made.size - at) / 60, 12)
        case "rhythm":
            made[span] += 3 * np.sin(2 * np.pi * clock / rng.uniform(8, 40))
        case "zero":
            made[span] = np.where(np.isfinite(made[span]), 0.0, np.nan)
    return made, steps


KINDS = (
    "shift",
    "shift 1.5",
    "ramp",
    "stuck",
    "no data",
    "wider",
    "narrower",
    "spike",
    "rhythm",
    "zero",
)


def bursts(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Noise in which one sample in a hundred begins a burst of a few, of any size."""
    values = rng.normal(size=steps)
    for at in np.flatnonzero(rng.random(steps) < 0.01).tolist():
        values[at : at + int(rng.integers(2, 8))] += rng.exponential(10)
    return values


ORDINARY: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda r, n: r.normal(size=n),
    "laplace": lambda r, n: r.laplace(size=n),
    "t3": lambda r, n: r.standard_t(3, size=n),
    "lognormal": lambda r, n: r.lognormal(size=n),
    "exponential": lambda r, n: r.exponential(size=n),
    "pareto": lambda r, n: r.pareto(1.5, size=n),
    "bursts": bursts,
    "levels": lambda r, n: r.choice([10.0, 20.0, 50.0], size=n),
    "sticky levels": lambda r, n: np.repeat(
        r.choice([10.0, 20.0, 50.0], n), r.geometric(1 / 60, n)
    )[:n],
    "noisy levels": lambda r, n: (
        np.repeat(r.choice([10.0, 20.0, 50.0], n), r.geometric(1 / 240, n))[:n] + r.normal(size=n)
    ),
    "poisson": lambda r, n: r.poisson(0.3, size=n).astype(float),
    "walk": lambda r, n: np.cumsum(r.normal(size=n)),
    "AR(1)": lambda r, n: smooth(r.normal(size=n), 0.95),
    "every 5th": lambda r, n: np.where(np.arange(n) % 5 == 0, r.normal(size=n), np.nan),
    "two values": lambda r, n: r.integers(0, 2, n).astype(float),
    "constant": lambda _, n: np.ones(n),
}


def smooth(values: np.ndarray, share: float) -> np.ndarray:
    """Each sample keeps `share` of the one before."""
    made = values.copy()
    for at in range(1, made.size):
        made[at] += share * made[at - 1]
    return made
