"""How the file of jobs is written: YAML whose scalars are texts, and mappings of known keys.

Source: prometheus.io/docs/prometheus/latest/configuration/configuration; ADR 16.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from data_ingest.chassis.kinds import Kind, ServiceError

FAULTS_SHOWN: Final = 5
_DURATION: Final = re.compile(
    "".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))
)
_DURATION_S: Final = (31_536_000, 604_800, 86_400, 3_600, 60, 1, 0.001)
_SIZE: Final = re.compile(r"(\d+)([KMGT]?)i?B")
_TEXT_ONLY: Final = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}


class BadJobs(ServiceError):
    """The scrape jobs cannot be used"""

    kind = Kind.BAD_DATA


def duration_s(text: Any) -> float:
    """Seconds of `1m30s`; at least a millisecond, at most a year."""
    match = _DURATION.fullmatch(str(text))
    if not match or not text:
        raise ValueError("expected a duration like 15s or 1m30s")
    seconds = sum(
        int(count) * unit for count, unit in zip(match.groups("0"), _DURATION_S, strict=True)
    )
    if not 0 < seconds <= _DURATION_S[0]:
        raise ValueError("expected a duration over 0 and up to 1y")
    return float(seconds)


def duration_text(seconds: float) -> str:
    """As Prometheus writes it: `1m30s`, `250ms`."""
    left_ms, text = round(seconds * 1000), ""
    for unit, unit_ms in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left_ms = divmod(left_ms, unit_ms)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def size_bytes(text: Any) -> int:
    """Bytes of `10MB`, in powers of 1024 as in Prometheus; `0` is no limit."""
    match = _SIZE.fullmatch(str(text))
    if str(text) == "0":
        return 0
    if not match:
        raise ValueError("expected a size like 10MB")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match[2]]


def _in_folder(path: Path, info: ValidationInfo) -> Path:
    return Path(info.context or "", path)


Duration = Annotated[float, BeforeValidator(duration_s)]
Size = Annotated[int, BeforeValidator(size_bytes)]
Count = Annotated[int, Field(ge=0)]
File = Annotated[Path, AfterValidator(_in_folder)]
"""Relative to the folder that the validation has as its context."""


Part = TypeVar("Part", bound=BaseModel)


class Strict(BaseModel):
    """A mapping with these keys and no others; a key without a value is as if it were not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def only_known(cls, given: Any) -> Any:
        """What is given, without empty keys; ValueError names those that are not known."""
        if not isinstance(given, Mapping):
            raise ValueError("expected a mapping")  # noqa: TRY004 - pydantic reports ValueErrors
        allowed = sorted(field.alias or name for name, field in cls.model_fields.items())
        if unknown := sorted(map(str, given.keys() - set(allowed))):
            raise ValueError(f"{', '.join(unknown)}: not known here; allowed: {', '.join(allowed)}")
        return {name: value for name, value in given.items() if value is not None}

    def part(self, kind: type[Part], **changed: Any) -> Part:
        """What of it is of `kind`, one of its bases, with these fields `changed`."""
        fields = {name: getattr(self, name) for name in kind.model_fields}
        return kind.model_construct(**{**fields, **changed})


def parsed_yaml(text: str, file: str) -> Any:
    """The YAML in the text of `file`, numbers and truth values as texts; or BadJobs."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe loader with fewer types
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        why = getattr(exc, "problem", None) or "it is not YAML"
        raise BadJobs(detail=f"{file}{place}: {why}") from None


def explained(exc: ValidationError) -> str:
    """Where and what, for the first faults; values are not repeated: they may be secrets."""
    faults = []
    for error in exc.errors(include_input=False, include_url=False, include_context=False):
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
        )
        text = error["msg"].removeprefix("Value error, ")
        faults.append(f"{path.removeprefix('.')}: {text}" if path else text)
    return "; ".join(faults[:FAULTS_SHOWN])


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # ships no types
    """Texts stay texts, as where Go reads into a string; a key that stands twice is refused."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                why = f"{key.value} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TEXT_ONLY]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
