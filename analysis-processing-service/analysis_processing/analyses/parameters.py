"""Parameters of the analyses: names, defaults, bounds, and the one place that checks them.

Pure and light: the web process refuses a bad parameter at once, with the bound it broke.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis_processing.errors import InvalidJob

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DURATION = re.compile(r"(\d{1,12})(ms|[smhdw])", re.ASCII)
PHASES_MIN = 4
PHASES_MAX = 20_160  # two weeks of minutes
AUTO_SEASONS_MS = (3_600_000, 86_400_000, 604_800_000)
EPOCH_MS_MAX = 253_402_300_799_000  # the year 9999
LABELS_MAX = 16
LABEL_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; null is a value where it is the default.

    type, what a caller gives, and what `run` gets where that differs:
        number, integer   from `minimum` to `maximum`
        boolean
        choice            one of `choices`
        season            one of `choices`, or a duration of whole steps
        duration          such as "6h", or ms; from `minimum` to `maximum` ms; an integer of ms
        time              ms since the epoch
        text              at most `maximum` characters
        labels            at most LABELS_MAX names of labels, none twice
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
        always = {"name", "type", "default", "description"}
        return {
            name: value
            for name, value in asdict(self).items()
            if name in always or value not in (None, ())
        }

    def check(self, value: Any, step_ms: int) -> Any:
        """`value` in its one spelling; raises InvalidJob naming the parameter and its bound."""
        if value is None and self.default is None:
            return None
        if self.type == "season":
            return self._season(value, step_ms)
        check: Callable[[Any], Any] = getattr(self, f"_{self.type}")
        return check(value)

    def _boolean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            self._refuse(value, "true or false")
        return bool(value)

    def _choice(self, value: Any) -> str:
        if value not in self.choices:
            self._refuse(value, " or ".join(self.choices))
        return str(value)

    def _time(self, value: Any) -> int:
        if type(value) is not int or not 0 <= value <= EPOCH_MS_MAX:
            self._refuse(value, "a time in ms since the epoch")
        return int(value)

    def _text(self, value: Any) -> str:
        assert self.maximum is not None
        if not is_text(value, self.maximum):
            self._refuse(value, f"a text of at most {self.maximum:g} characters")
        return str(value)

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
            return float(value) + 0.0  # -0.0 is 0.0
        if value != int(value):
            self._refuse(value, wanted)
        return int(value)

    _integer = _number

    def _duration(self, value: Any) -> int:
        assert self.minimum is not None
        assert self.maximum is not None
        match = DURATION.fullmatch(value) if isinstance(value, str) else None
        ms = int(match[1]) * UNITS_MS[match[2]] if match else value
        if type(ms) is not int or not self.minimum <= ms <= self.maximum:
            bounds = f"{duration_text(self.minimum)} to {duration_text(self.maximum)}"
            self._refuse(value, f"a duration such as 6h, from {bounds}")
        return int(ms)

    def _labels(self, value: Any) -> list[str]:
        if (
            not isinstance(value, list)
            or len(value) > LABELS_MAX
            or not all(one and is_text(one, LABEL_CHARACTERS_MAX) for one in value)
            or len(set(value)) < len(value)
        ):
            self._refuse(value, f"a list of at most {LABELS_MAX} different label names")
        return list(value)

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
        return duration_text(season_ms)

    def _refuse(self, value: Any, wanted: str) -> None:
        raise InvalidJob(detail=f"params.{self.name} is {str(value)[:60]!r}, not {wanted}")


def is_text(value: Any, characters_max: float) -> bool:
    """Whether it is a text that Postgres stores, and no longer than that."""
    if not isinstance(value, str) or len(value) > characters_max or "\0" in value:
        return False
    return not any("\ud800" <= one <= "\udfff" for one in value)


def duration_text(ms: float) -> str:
    """The duration in its largest whole unit."""
    unit = max((unit for unit in UNITS_MS if ms % UNITS_MS[unit] == 0), key=UNITS_MS.__getitem__)
    return f"{ms / UNITS_MS[unit]:.15g}{unit}"


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
        plain = ("kind", "title", "description", "version")
        parameters = [parameter.as_json() for parameter in self.parameters]
        return {name: getattr(self, name) for name in plain} | {"parameters": parameters}


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
