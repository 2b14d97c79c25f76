"""The table of analyses: each kind's name and parameters, light enough for the web process.

One package a kind: what the web process reads stands in its `__init__`; what computes stands in
`Analysis.module` and is imported by the worker's child only, so that the web process never pays for
numpy, pandas and numba (about 100 MB).
"""

from collections.abc import Mapping
from typing import Any

from analysis_processing.analyses.anomaly import ANOMALY
from analysis_processing.analyses.change_points import CHANGE_POINTS
from analysis_processing.analyses.changes import CHANGES
from analysis_processing.analyses.correlation import CORRELATION
from analysis_processing.analyses.forecast import FORECAST
from analysis_processing.analyses.group_outliers import GROUP_OUTLIERS
from analysis_processing.analyses.own import OWN
from analysis_processing.analyses.parameters import Analysis, resolve
from analysis_processing.analyses.report import REPORT
from analysis_processing.analyses.seasonality import SEASONALITY
from analysis_processing.analyses.slo import SLO
from analysis_processing.errors import UnknownKind

KINDS = (
    ANOMALY,
    FORECAST,
    CHANGES,
    CHANGE_POINTS,
    GROUP_OUTLIERS,
    SEASONALITY,
    CORRELATION,
    SLO,
    REPORT,
    OWN,
)
ANALYSES: dict[str, Analysis] = {analysis.kind: analysis for analysis in KINDS}


def find(kind: str) -> Analysis:
    """The analysis of that name; raises UnknownKind naming those there are."""
    if kind not in ANALYSES:
        raise UnknownKind(kind=kind[:40], known=",".join(sorted(ANALYSES)))
    return ANALYSES[kind]


def resolved_params(kind: str, given: Mapping[str, Any], step_ms: int) -> dict[str, Any]:
    """Every parameter of `kind` with a value: the given one, checked, or the default."""
    return resolve(find(kind).parameters, given, step_ms)
