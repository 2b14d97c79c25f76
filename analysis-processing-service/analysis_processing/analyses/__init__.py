"""The table of analyses: each kind's name and parameters, light enough for the web process.

What a kind computes lives in the module of its name and is imported by the worker's child only, so
that the web process never pays for numpy, pandas and numba (about 100 MB).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis_processing.analyses.parameters import ANOMALY, Parameter, resolve
from analysis_processing.errors import UnknownKind


@dataclass(frozen=True, slots=True)
class Analysis:
    """A kind of analysis as a caller sees it. `version` is part of a job's identity."""

    kind: str
    title: str
    description: str
    version: str
    parameters: tuple[Parameter, ...]

    def as_json(self) -> dict[str, Any]:
        """The kind, its parameters, their defaults and bounds, as a page needs them for a form."""
        return {
            "kind": self.kind,
            "title": self.title,
            "description": self.description,
            "version": self.version,
            "parameters": [parameter.as_json() for parameter in self.parameters],
        }


ANALYSES: dict[str, Analysis] = {
    "anomaly": Analysis(
        kind="anomaly",
        title="Anomaly detection",
        description=(
            "Marks what a series was not expected to do, judged by its own earlier samples only: "
            "its level, its hour, day or week, and how widely it usually scatters. "
            "For a counter, ask for its rate."
        ),
        version="1",
        parameters=ANOMALY,
    )
}


def find(kind: str) -> Analysis:
    """The analysis of that name; raises UnknownKind naming those there are."""
    if kind not in ANALYSES:
        raise UnknownKind(kind=kind[:40], known=",".join(sorted(ANALYSES)))
    return ANALYSES[kind]


def resolved_params(kind: str, given: Mapping[str, Any], step_ms: int) -> dict[str, Any]:
    """Every parameter of `kind` with a value: the given one, checked, or the default."""
    return resolve(find(kind).parameters, given, step_ms)
