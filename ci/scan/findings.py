"""What a registry's scanner found, and whether a release may pass: PURE.

    answered   COMPLETE, or ACTIVE with results     → judged by severity and waivers
    not_found  nobody ever scanned the image        → refused (3): scan on push is off, or too new
    pending    still scanning when the wait is over → outside fault (4): run it again
    failed     the scanner gave up                  → refused (3)
    unsupported  it cannot scan such an image       → refused (3)

"No findings" is good news only from a scan that ended; the four others are never clean.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ci.config import SEVERITIES
from ci.errors import Defect

ANSWERED, NOT_FOUND, PENDING = "answered", "not_found", "pending"
FAILED, UNSUPPORTED = "failed", "unsupported"

# Words of DescribeImageScanFindings, basic and enhanced; any other word is `failed`.
# Source: Amazon ECR API reference, ImageScanStatus.
WORDS = {
    "COMPLETE": ANSWERED,
    "ACTIVE": ANSWERED,
    "IN_PROGRESS": PENDING,
    "PENDING": PENDING,
    "FAILED": FAILED,
    "LIMIT_EXCEEDED": FAILED,
    "SCAN_ELIGIBILITY_EXPIRED": FAILED,
    "FINDINGS_UNAVAILABLE": FAILED,
    "IMAGE_ARCHIVED": FAILED,
    "UNSUPPORTED_IMAGE": UNSUPPORTED,
}
SAME_SEVERITY = {"UNTRIAGED": "UNDEFINED"}  # the word of enhanced scanning for the same


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


@dataclass(frozen=True)
class ScanAnswer:
    """What the registry says about one image. state: `answered`, or one of the four no-answers.

    word: the registry's own status. findings: empty unless answered.
    """

    state: str
    word: str
    description: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Waiver:
    """A finding that a person accepted for a while. package: None for every package.

    expires: the last day it holds.
    """

    id: str
    reason: str
    expires: date
    package: str | None = None

    def covers(self, finding: Finding) -> bool:
        """Whether it is about that finding."""
        return self.id == finding.id and self.package in {None, finding.package}


@dataclass(frozen=True)
class Verdict:
    """What stops a release, what was waived, and which waivers nothing needed.

    blocking, waived: (image name, finding). expired: waivers past their day.
    """

    blocking: tuple[tuple[str, Finding], ...]
    waived: tuple[tuple[str, Finding], ...]
    expired: tuple[Waiver, ...]
    unused: tuple[Waiver, ...]


def state(word: str, *, has_results: bool) -> str:
    """The state that a status word means; ACTIVE before the first results is still pending."""
    if word == "ACTIVE" and not has_results:
        return PENDING
    return WORDS.get(word, FAILED)


def stops(severity: str, fail_on: str) -> bool:
    """Whether a finding of that severity stops a release; a severity nobody knows does."""
    name = SAME_SEVERITY.get(severity, severity)
    return name not in SEVERITIES or SEVERITIES.index(name) >= SEVERITIES.index(fail_on)


def judge(
    answers: Iterable[tuple[str, ScanAnswer]],
    fail_on: str,
    waivers: Sequence[Waiver],
    today: date,
) -> Verdict:
    """The verdict over (image name, answer), all of them answered."""
    holding = [waiver for waiver in waivers if waiver.expires >= today]
    blocking: list[tuple[str, Finding]] = []
    waived: list[tuple[str, Finding]] = []
    used: set[Waiver] = set()
    for name, answer in answers:
        assert answer.state == ANSWERED, answer
        for finding in answer.findings:
            covering = [waiver for waiver in holding if waiver.covers(finding)]
            used |= set(covering)
            if not stops(finding.severity, fail_on):
                continue
            (waived if covering else blocking).append((name, finding))
    return Verdict(
        tuple(blocking),
        tuple(waived),
        tuple(waiver for waiver in waivers if waiver.expires < today),
        tuple(waiver for waiver in holding if waiver not in used),
    )


def waivers(text: str, where: str) -> list[Waiver]:
    """The waivers that the TOML `text` lists; `Defect` names the entry that is not one."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise Defect(f"{where}: {exc}") from exc
    entries = data.pop("waiver", [])
    if data or not isinstance(entries, list):
        raise Defect(f"{where}: it holds [[waiver]] tables and nothing else")
    return [_waiver(entry, f"{where}: waiver {number}") for number, entry in enumerate(entries, 1)]


def _waiver(entry: Any, where: str) -> Waiver:
    if not isinstance(entry, dict):
        raise Defect(f"{where}: it is no table")
    if unknown := entry.keys() - {"id", "package", "reason", "expires"}:
        raise Defect(f"{where}: unknown {', '.join(sorted(unknown))}")
    for name, kind in (("id", str), ("reason", str), ("expires", date)):
        # a date and time is a date to isinstance, and not what is meant
        if type(entry.get(name)) is not kind or not entry[name]:
            raise Defect(f"{where}: {name} is missing or no {kind.__name__}")
    for name in ("id", "reason"):
        if entry[name] != entry[name].strip():
            raise Defect(f"{where}: {name} {entry[name]!r} has blanks around it")
    if re.search(r"[*?\[\]\s]", entry["id"]):
        raise Defect(f"{where}: id {entry['id']!r} is no one finding; each is waived by its own id")
    package = entry.get("package")
    if not (package is None or (isinstance(package, str) and package)):
        raise Defect(f"{where}: package is no str")
    return Waiver(entry["id"], entry["reason"], entry["expires"], package)
