"""Generated series with a future: what monitoring data does next, to judge forecasts by.

Each maker returns one float64 series of `steps` hours; seeds are the caller's.
"""

from collections.abc import Callable

import numpy as np

DAY, WEEK = 24, 168


def rhythm(rng: np.random.Generator, season: int) -> np.ndarray:
    """A smooth random shape of one season, of mean 0 and deviation 1."""
    waves = np.arange(1, 5)[:, None]
    angles = 2 * np.pi * waves * np.arange(season) / season
    shape = (rng.normal(size=(4, 1)) / waves * np.sin(angles + rng.uniform(0, 6.3, (4, 1)))).sum(0)
    return (shape - shape.mean()) / shape.std()


def noise(rng: np.random.Generator, steps: int) -> np.ndarray:
    return 100 + rng.normal(size=steps)


def daily(rng: np.random.Generator, steps: int) -> np.ndarray:
    return 50 + 5 * np.resize(rhythm(rng, DAY), steps) + rng.normal(size=steps)


def daily_weekly(rng: np.random.Generator, steps: int) -> np.ndarray:
    return daily(rng, steps) + 4 * np.resize(np.repeat(rng.normal(size=7), DAY), steps)


def trend_daily(rng: np.random.Generator, steps: int) -> np.ndarray:
    return daily(rng, steps) + rng.uniform(0.02, 0.2) * np.arange(steps)


def lognormal(rng: np.random.Generator, steps: int) -> np.ndarray:
    return np.exp(rng.normal(3, 0.7, steps))


def random_walk(rng: np.random.Generator, steps: int) -> np.ndarray:
    return 1000 + np.cumsum(rng.normal(size=steps))


CASES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise": noise,
    "daily": daily,
    "daily_weekly": daily_weekly,
    "trend_daily": trend_daily,
    "lognormal": lognormal,
    "random_walk": random_walk,
}


def usage(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Hourly load as M4 hourly has it: a daily shape that weekends flatten, levels that wander.

    Holidays, a slow drift of the shape, multiplicative errors with memory: no method's own model.
    """
    hours = np.arange(steps) + int(rng.integers(WEEK))
    level = np.exp(rng.normal(6, 2))
    weekdays = np.where(np.arange(7) < 5, 1.0, rng.uniform(0.3, 1.1)) * rng.uniform(0.9, 1.1, 7)
    turn = np.clip(np.arange(steps) / steps * rng.uniform(0, 1), 0, 1)
    work, home = np.resize(rhythm(rng, DAY), WEEK), np.resize(rhythm(rng, DAY), WEEK)
    shape = (1 - turn) * work[hours % WEEK] + turn * home[hours % WEEK]
    day = (
        weekdays[hours // DAY % 7]
        * np.where(rng.random(steps // DAY + 8) < 0.03, 0.6, 1.0)[(hours - hours[0]) // DAY]
    )
    memory = np.zeros(steps)
    errors = rng.standard_t(4, steps) * rng.uniform(0.005, 0.05)
    for i in range(1, steps):
        memory[i] = 0.95 * memory[i - 1] + errors[i]
    base = 1.0 + rng.uniform(0.1, 0.35) * shape * day + 0.3 * (day - 1.0)
    return level * np.maximum(base * np.exp(memory), 0.0)
