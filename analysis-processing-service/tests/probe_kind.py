"""A kind of analysis for tests: sums its series, and does what their labels say.

`trouble=raise`: `run` raises when the series is among those it is given. Calls are counted.
"""

import threading

import numpy as np

from analysis_processing.analyses.block import Part, SeriesResult, Written
from analysis_processing.analyses.parameters import Analysis, Parameter

PROBE = Analysis(
    kind="probe",
    title="Probe",
    description="",
    version="1",
    parameters=(
        Parameter("write_back", "boolean", False, ""),
        Parameter("salt", "integer", 0, "", minimum=0, maximum=9),
    ),
    module="probe_kind",
)


class Calls:
    """What was called since `clear`."""

    def clear(self):
        self.prepared, self.ran, self.concluded = [], [], []
        self.entered, self.released = threading.Event(), threading.Event()
        self.released.set()


calls = Calls()
calls.clear()


def prepare(block, params):
    calls.prepared.append(len(block.labels))
    return {"mean": float(np.nanmean(block.values))}


def run(block, params, context):
    calls.ran.append([one.get("n") for one in block.labels])
    calls.entered.set()
    assert calls.released.wait(600)
    for labels in block.labels:
        if labels.get("trouble") == "raise":
            raise ZeroDivisionError
    steps = block.values.shape[1]
    series = [
        SeriesResult(
            labels,
            score=float(np.nansum(values)),
            facts={"mean": context["mean"]},
            columns={"values": values},
        )
        for labels, values in zip(block.labels, block.values, strict=True)
    ]
    return Part(block.start_ms, block.step_ms, steps, series)


def conclude(results, params, context):
    assert not any(one.columns for one in results)
    calls.concluded.append([one.labels for one in results])
    return {"total": sum(one.score for one in results)}


def written(part, params):
    times_ms = part.start_ms + part.step_ms * np.arange(part.steps)
    out = []
    for one in part.series:
        if one.note is None:
            out += [
                Written(one.labels | {"__name__": "probe_score"}, times_ms, one.columns["values"]),
                Written(one.labels | {"__name__": "probe_alarm"}, times_ms[:1], np.ones(1)),
            ]
    return out
