"""The functions of the language: name, argument types, result type.

What a function computes is in the family modules; the parser needs only this table. A function that
is `experimental` upstream (behind a feature flag there) is marked, and one we know of but do not
compute is `supported=False`, so that it gets a clear answer instead of "unknown function".
Source: Prometheus `promql/parser/functions.go` v3.14.
"""

from enum import StrEnum
from typing import NamedTuple


class ValueType(StrEnum):
    """The four types of an expression, by the names that errors use."""

    SCALAR = "scalar"
    STRING = "string"
    VECTOR = "instant vector"
    MATRIX = "range vector"


_S = ValueType.SCALAR
_T = ValueType.STRING
_V = ValueType.VECTOR
_M = ValueType.MATRIX


class Function(NamedTuple):
    """args: types in order, the last repeating. variadic: how many of the last are optional or
    repeat: 0 exactly as declared, n from one fewer up to n - 1 more, -1 without an upper bound.
    """

    args: tuple[ValueType, ...]
    returns: ValueType = ValueType.VECTOR
    variadic: int = 0
    experimental: bool = False
    supported: bool = True


_OVER_TIME = (
    "absent_over_time avg_over_time changes count_over_time delta deriv idelta increase irate "
    "last_over_time max_over_time min_over_time present_over_time rate resets stddev_over_time "
    "stdvar_over_time sum_over_time"
)
_OVER_TIME_EXPERIMENTAL = (
    "first_over_time mad_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time "
    "ts_of_min_over_time"
)
_OF_VECTOR = (
    "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg "
    "histogram_count histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn sin "
    "sinh sort sort_desc sqrt tan tanh timestamp"
)
_OF_TIME = "day_of_month day_of_week day_of_year days_in_month hour minute month year"

FUNCTIONS: dict[str, Function] = {
    **{name: Function((_M,)) for name in _OVER_TIME.split()},
    **{name: Function((_M,), experimental=True) for name in _OVER_TIME_EXPERIMENTAL.split()},
    **{name: Function((_V,)) for name in _OF_VECTOR.split()},
    **{name: Function((_V,), variadic=1) for name in _OF_TIME.split()},
    "clamp": Function((_V, _S, _S)),
    "clamp_max": Function((_V, _S)),
    "clamp_min": Function((_V, _S)),
    "double_exponential_smoothing": Function((_M, _S, _S), experimental=True),
    "end": Function((), _S, experimental=True),
    "histogram_fraction": Function((_S, _S, _V)),
    "histogram_quantile": Function((_S, _V)),
    "histogram_quantiles": Function((_V, _T, _S, _S), variadic=9, experimental=True),
    "info": Function((_V, _V), variadic=1, experimental=True),
    "label_join": Function((_V, _T, _T, _T), variadic=-1),
    "label_replace": Function((_V, _T, _T, _T, _T)),
    "max_of": Function((_S, _S), _S, experimental=True),
    "min_of": Function((_S, _S), _S, experimental=True),
    "pi": Function((), _S),
    "predict_linear": Function((_M, _S)),
    "quantile_over_time": Function((_S, _M)),
    "range": Function((), _S, experimental=True),
    "round": Function((_V, _S), variadic=1),
    "scalar": Function((_V,), _S),
    "sort_by_label": Function((_V, _T), variadic=-1, experimental=True),
    "sort_by_label_desc": Function((_V, _T), variadic=-1, experimental=True),
    "start": Function((), _S, experimental=True),
    "start_timestamp": Function((_V,), experimental=True, supported=False),
    "step": Function((), _S, experimental=True),
    "time": Function((), _S),
    "vector": Function((_S,)),
}
