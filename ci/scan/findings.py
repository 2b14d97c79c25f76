"""What a registry's scanner found, and whether a release may pass: PURE.

    COMPLETE, or ACTIVE with results          an answer  → judged by severity and waivers
    IN_PROGRESS, PENDING, ACTIVE without any  not yet    → outside fault (4) when the wait is over
    any other word, or never scanned          none       → refused (3)

"No findings" is good news only from a scan that ended; without an answer no image is clean.
Source: Amazon ECR API reference, ImageScanStatus.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

import pydantic.dataclasses
from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from ci.config import SEVERITIES, explained
from ci.errors import Defect

PENDING = {"IN_PROGRESS", "PENDING", "ACTIVE"}


@dataclass(frozen=True)
class Finding:
    """One vulnerability of one package. fixed_in: a version without it, where one is known."""

    id: str
    severity: str
    package: str
    version: str
    fixed_in: str | None = None
    uri: str | None = None

    def __str__(self) -> str:
        fix = f", fixed in {self.fixed_in}" if self.fixed_in else ""
        return f"{self.severity:8} {self.id} {self.package} {self.version}{fix}"


Named = tuple[str, Finding]  # with the name of its image


@dataclass(frozen=True)
class ScanAnswer:
    """What the registry says about one image. word: its own status. findings: None: no answer."""

    word: str
    description: str = ""
    findings: Sequence[Finding] | None = None


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Waiver:
    """A finding that a person accepted up to a day. package: None for every package."""

    id: Annotated[str, Field(pattern=r"^[^\s*?\[\]]+$")]  # one finding, no wildcard
    reason: Annotated[str, Field(pattern=r"^\S(?s:.*\S)?$")]
    expires: Annotated[date, Strict()]  # a date and time is none
    package: Annotated[str, Field(min_length=1)] | None = None

    def covers(self, finding: Finding) -> bool:
        """Whether it is about that finding."""
        return self.id == finding.id and self.package in {None, finding.package}


def is_answer(word: str, *, has_results: bool) -> bool:
    """Whether a status word means that a scan ended; ACTIVE does once there are results."""
    return word == "COMPLETE" or (word == "ACTIVE" and has_results)


def stops(severity: str, fail_on: str) -> bool:
    """Whether a finding of that severity stops a release; a severity nobody knows does."""
    name = severity.replace("UNTRIAGED", "UNDEFINED")  # enhanced scanning's word for the same
    return name not in SEVERITIES or SEVERITIES.index(name) >= SEVERITIES.index(fail_on)


def judge(
    answers: Mapping[str, Sequence[Finding]], fail_on: str, waivers: Sequence[Waiver], today: date
) -> tuple[list[Named], list[Named], list[Waiver]]:
    """What stops the release, what would but is waived, and which waivers cover nothing."""
    holding = [waiver for waiver in waivers if waiver.expires >= today]
    named = [(name, finding) for name, listed in answers.items() for finding in listed]
    unused = [w for w in holding if not any(w.covers(finding) for _, finding in named)]
    blocking, waived = list[Named](), list[Named]()
    for name, finding in named:
        if stops(finding.severity, fail_on):
            is_waived = any(waiver.covers(finding) for waiver in holding)
            (waived if is_waived else blocking).append((name, finding))
    return blocking, waived, unused


def waivers(content: bytes, where: str) -> Sequence[Waiver]:
    """The waivers that a TOML file lists; `Defect` names the key that makes no sense."""
    try:
        adapter = TypeAdapter(dict[Literal["waiver"], list[Waiver]])
        return adapter.validate_python(tomllib.loads(content.decode())).get("waiver", [])
    except ValidationError as exc:
        raise Defect(f"{where}:\n  {explained(exc)}") from exc
    except ValueError as exc:  # no TOML, or no UTF-8
        raise Defect(f"{where}: {exc}") from exc
