"""Counters become rates: an ever-growing total says nothing, how fast it grows does.

Source: docs of Prometheus's `rate`; here from sample to sample, without extrapolation.
"""

from collections.abc import Mapping

import numpy as np

from analysis_processing.frames import F64
from analysis_processing.model import Labels

SUFFIXES = ("_total", "_count", "_sum", "_bucket")
FAMILIES = frozenset({"counter", "histogram", "summary"})


def take_rate(labels: Labels, values: F64, step_ms: int, types: Mapping[str, str]) -> bool:
    """Whether this was a raw counter; then its values are rates a second now, in place."""
    was_counter = is_counter(labels.get("__name__"), values, types)
    if was_counter:
        values[:] = rate(values, step_ms)
    return was_counter


def is_counter(name: str | None, values: F64, types: Mapping[str, str]) -> bool:
    """Whether these are samples of a raw counter: by its type, else by its name and how it moves.

    A function such as rate() removes the name, so a series that still has one is not a rate.
    """
    if name is None:
        return False
    if name in types and types[name] not in {"unknown", "untyped", "histogram", "summary"}:
        return types[name] == "counter"
    suffix = next((one for one in SUFFIXES if name.endswith(one)), None)
    if suffix is None:
        return False
    return types.get(name.removesuffix(suffix)) in FAMILIES or looks_like_counter(values)


def looks_like_counter(values: F64) -> bool:
    """Whether the samples are never negative, grow, and fall only to restart."""
    samples = values[np.isfinite(values)]
    if samples.size < 2 or (samples < 0).any():
        return False
    moves = np.diff(samples)
    falls = moves < 0
    restarts = samples[1:][falls] <= 0.5 * samples[:-1][falls]
    return bool((moves > 0).any() and restarts.all())


def rate(values: F64, step_ms: int) -> F64:
    """Growth a second since the sample before; a fall is a restart from 0, gaps stay gaps."""
    at = np.flatnonzero(~np.isnan(values))
    samples = values[at]
    rates = np.full(values.shape, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        growth = np.diff(samples)
        growth = np.where(growth < 0, samples[1:], growth)
        rates[at[1:]] = growth / (np.diff(at) * (step_ms / 1000))
    return rates
