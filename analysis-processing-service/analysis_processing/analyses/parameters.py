"""Parameters of the analyses: names, defaults, bounds, and the one place that checks them.

Pure and light: the web process refuses a bad parameter at once, with the bound it broke.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis_processing.errors import InvalidJob

UNITS_MS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
DURATION = re.compile(r"(\d{1,12})(ms|[smhdw])", re.ASCII)
PHASES_MIN = 4
PHASES_MAX = 20_160  # two weeks of minutes
AUTO_SEASONS_MS = (3_600_000, 86_400_000, 604_800_000)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `type` is number, integer, choice, boolean, season or duration.

    A default of None means that nothing need be given.
    """

    name: str
    type: str
    default: Any
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As the page's form reads it; bounds and choices only where there are some."""
        shown = {
            "name": self.name,
            "type": self.type,
            "default": self.default,
            "description": self.description,
        }
        if self.minimum is not None:
            shown |= {"minimum": self.minimum, "maximum": self.maximum}
        if self.choices:
            shown["choices"] = list(self.choices)
        return shown

    def check(self, value: Any, step_ms: int) -> Any:
        """`value` in its one spelling; raises InvalidJob naming the parameter and its bound."""
        if value is None and self.default is None:
            return None
        match self.type:
            case "number" | "integer":
                return self._number(value)
            case "duration":
                return self._duration(value)
            case "boolean":
                if not isinstance(value, bool):
                    self._refuse(value, "true or false")
                return value
            case "season":
                return self._season(value, step_ms)
            case _:
                if value not in self.choices:
                    self._refuse(value, " or ".join(self.choices))
                return value

    def _number(self, value: Any) -> float | int:
        assert self.minimum is not None
        assert self.maximum is not None
        wanted = f"{self.type} from {self.minimum:g} to {self.maximum:g}"
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            self._refuse(value, wanted)
        if not self.minimum <= value <= self.maximum:
            self._refuse(value, wanted)
        if self.type == "number":
            return float(value)
        if value != int(value):
            self._refuse(value, wanted)
        return int(value)

    def _season(self, value: Any, step_ms: int) -> str:
        if value in self.choices:
            return str(value)
        match = DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            self._refuse(value, f"{' or '.join(self.choices)} or a duration such as 1d")
        assert match is not None
        season_ms = int(match[1]) * UNITS_MS[match[2]]
        if season_ms % step_ms:
            self._refuse(value, f"a whole multiple of the step ({step_ms} ms)")
        if not PHASES_MIN <= season_ms // step_ms <= PHASES_MAX:
            self._refuse(value, f"{PHASES_MIN} to {PHASES_MAX} steps long")
        return str(value)

    def _duration(self, value: Any) -> int:
        """In ms; bounds are in ms too."""
        match = DURATION.fullmatch(value) if isinstance(value, str) else None
        duration_ms = int(match[1]) * UNITS_MS[match[2]] if match else -1
        if not (self.minimum or 0) <= duration_ms <= (self.maximum or 0):
            wanted = f"a duration such as 6h, from {self.minimum:g} to {self.maximum:g} ms"
            self._refuse(value, wanted)
        return duration_ms

    def _refuse(self, value: Any, wanted: str) -> None:
        raise InvalidJob(detail=f"params.{self.name} is {str(value)[:60]!r}, not {wanted}")


@dataclass(frozen=True, slots=True)
class Analysis:
    """A kind of analysis as a caller sees it.

    `version` is part of a job's identity. `module` is what the worker's child imports to compute
    it, see `analyses/block.py`.
    """

    kind: str
    title: str
    description: str
    version: str
    parameters: tuple[Parameter, ...]
    module: str

    def as_json(self) -> dict[str, Any]:
        """The kind, its parameters, their defaults and bounds, as a page needs them for a form."""
        return {
            "kind": self.kind,
            "title": self.title,
            "description": self.description,
            "version": self.version,
            "parameters": [parameter.as_json() for parameter in self.parameters],
        }


def resolve(
    parameters: tuple[Parameter, ...], given: Mapping[str, Any], step_ms: int
) -> dict[str, Any]:
    """Every parameter with a value; raises InvalidJob for an unknown name or a bad value."""
    names = {parameter.name for parameter in parameters}
    unknown = sorted(set(given) - names)
    if unknown:
        shown = unknown[0][:40].encode("ascii", "backslashreplace").decode()
        raise InvalidJob(detail=f"params.{shown} is unknown; known are {', '.join(sorted(names))}")
    return {
        parameter.name: parameter.check(given.get(parameter.name, parameter.default), step_ms)
        for parameter in parameters
    }


def season_steps(season: str, step_ms: int) -> tuple[int, ...]:
    """Lengths in steps of the seasons to try, ascending; () for none.

    auto leaves out what does not fit the step: each candidate must be a whole number of steps,
    and at least PHASES_MIN × 3, since a "season" of a few steps is only noise.
    """
    if season == "none":
        return ()
    if season == "auto":
        return tuple(
            season_ms // step_ms
            for season_ms in AUTO_SEASONS_MS
            if season_ms % step_ms == 0 and PHASES_MIN * 3 <= season_ms // step_ms <= PHASES_MAX
        )
    match = DURATION.fullmatch(season)
    assert match is not None, "checked by Parameter"
    return (int(match[1]) * UNITS_MS[match[2]] // step_ms,)
