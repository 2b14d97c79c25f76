"""`ci scan`: waits for what the registry's scanner says of a release, and judges it.

    COMPLETE, or ACTIVE with results          an answer  → judged by severity and waivers
    IN_PROGRESS, PENDING, ACTIVE without any  not yet    → outside fault (4) when the wait is over
    any other word, or never scanned          none       → refused (3)

"No findings" is good news only from a scan that ended; without an answer no image is clean.
Source: Amazon ECR API reference, ImageScanStatus and DescribeImageScanFindings, basic and enhanced.
"""

import json
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pydantic.dataclasses
from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from ci import config, push
from ci.config import SEVERITIES, Delivery, explained
from ci.context import Context
from ci.errors import Defect, OutsideFault, Refused
from ci.model import Release
from ci.outcome import Outcome
from ci.plan import planning
from ci.plan.planning import PLAN_OPTION
from ci.tools.ecr import Registry

POLL_S = 2.0
PENDING = {"IN_PROGRESS", "PENDING", "ACTIVE"}
NEVER_SCANNED = "ScanNotFoundException"
WORTH_WAITING = {*PENDING, NEVER_SCANNED}  # a scan on push begins a little later


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


@click.command()
@PLAN_OPTION
def scan(context: Context, plan: Path | None) -> Outcome:
    """Judges what the registry's scanner found in the images that `push` handed on.

    Findings of scan.fail_on (ci/ci.toml) or above stop the release, unless ci/waivers.toml accepts
    them; a waiver that has expired stops it as well. No findings is good news only from a scan that
    ended: else the status is scan_pending when it still runs after scan.wait_s (4: run it again),
    or scan_failed (refused, 3).
    """
    if plan:
        services, why_not = planning.chosen(context, [], plan)
        if not services:
            return Outcome("nothing", f"nothing to scan: {why_not}", {})
    delivery = config.load(context.catalogue, context.environ)
    return gate(context, delivery, push.read_release(context.handed_on / "release.json"))


def gate(
    context: Context,
    delivery: Delivery,
    release: Release,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Every image of `release` was scanned and nothing in it stops the release."""
    rules, today = delivery.scan, context.now().date()
    accepted = waivers(context.root / rules.waivers)
    if expired := [waiver for waiver in accepted if waiver.expires < today]:
        text = f"waivers in {rules.waivers} have expired; renew them or take them out:"
        text += "".join(f"\n  {w.id}: expired {w.expires}; {w.reason}" for w in expired)
        raise Refused(text, status="expired_waiver", expired=[waiver.id for waiver in expired])
    with context.screen.step(f"findings of {len(release.images)} images, tag {release.tag}"):
        answers = _answers(context, delivery, release, sleep)
    answered = {code: a.findings for code, a in answers.items() if a.findings is not None}
    silent = {code: answer for code, answer in answers.items() if code not in answered}
    blocking, waived, unused = judge(answered, rules.fail_on, accepted, today)
    images = {c: {"image": str(release.images[c])} | asdict(answers[c]) for c in answers}
    facts = {
        "release": release.tag,
        "fail_on": rules.fail_on,
        "images": images,
        "blocking": None if silent else _plain(blocking),
        "waived": None if silent else _plain(waived),
    }
    if not context.dry_run:
        context.hand_on("scan.json", json.dumps(facts, indent=2))
    if silent:
        text = f"no findings to judge after {rules.wait_s:g} s; that is not the same as none:"
        text += "".join(f"\n  {code}: {a.word}: {a.description}" for code, a in silent.items())
        if all(answer.word in PENDING for answer in silent.values()):
            raise OutsideFault(text, status="scan_pending", **facts)
        raise Refused(text, status="scan_failed", **facts)
    if blocking:
        text = f"{len(blocking)} findings of {rules.fail_on} or above, not waived:"
        raise Refused(text + _lines(blocking), status="findings", **facts)
    text = f"{len(answers)} images scanned; nothing of {rules.fail_on} or above but waived"
    if waived:
        text += f"\nwaived:{_lines(waived)}"
    text += "".join(f"\nwaiver {waiver.id} covers nothing any more" for waiver in unused)
    return Outcome("waived" if waived else "clean", text, facts)


def waivers(file: Path) -> Sequence[Waiver]:
    """The waivers that a TOML file lists, none without it; `Defect` names the key that is wrong."""
    try:
        listed = tomllib.loads(file.read_text(encoding="utf-8") if file.exists() else "")
        adapter = TypeAdapter(dict[Literal["waiver"], list[Waiver]])
        return adapter.validate_python(listed).get("waiver", [])
    except ValidationError as exc:
        raise Defect(f"{file.name}:\n  {explained(exc)}") from exc
    except ValueError as exc:  # no TOML, or no UTF-8
        raise Defect(f"{file.name}: {exc}") from exc


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
    grave = [(name, finding) for name, finding in named if stops(finding.severity, fail_on)]
    waived = [pair for pair in grave if any(waiver.covers(pair[1]) for waiver in holding)]
    return [pair for pair in grave if pair not in waived], waived, unused


def ask(registry: Registry, name: str, digest: str) -> ScanAnswer:
    """The findings of an image, all pages; or the word of the registry that there are none yet."""
    pages = registry.client.get_paginator("describe_image_scan_findings").paginate(
        repositoryName=name,
        imageId={"imageDigest": digest},
        PaginationConfig={"PageSize": 1000},
        **registry.account,
    )
    collected: list[Finding] = []
    word = about = ""
    with registry.calling("ecr:DescribeImageScanFindings", name):
        try:
            for page in pages:
                status, results = page["imageScanStatus"], page.get("imageScanFindings")
                word, about = status.get("status", ""), status.get("description", "")
                if not is_answer(word, has_results=bool(results)):
                    return ScanAnswer(word, about)
                collected += _findings(results or {})
        except registry.client.exceptions.ScanNotFoundException:
            return ScanAnswer(NEVER_SCANNED, "is scan on push on, and is the registry's scanner?")
    return ScanAnswer(word, about, collected)


def _findings(results: Mapping[str, Any]) -> Iterator[Finding]:
    for entry in results.get("findings", ()):
        named = {pair["key"]: pair.get("value", "") for pair in entry.get("attributes", ())}
        about = (named.get("package_name", ""), named.get("package_version", ""))
        yield Finding(
            entry.get("name", ""), entry.get("severity", ""), *about, None, entry.get("uri")
        )
    for entry in results.get("enhancedFindings", ()):
        details = entry.get("packageVulnerabilityDetails", {})
        for package in details.get("vulnerablePackages") or [{}]:
            if entry.get("status", "ACTIVE") == "ACTIVE":  # neither closed nor suppressed
                yield Finding(
                    id=details.get("vulnerabilityId") or entry.get("title", ""),
                    severity=entry.get("severity", ""),
                    package=package.get("name", ""),
                    version=package.get("version", ""),
                    fixed_in=package.get("fixedInVersion"),
                    uri=details.get("sourceUrl"),
                )


def _answers(
    context: Context, delivery: Delivery, release: Release, sleep: Callable[[float], None]
) -> dict[str, ScanAnswer]:
    """One answer for each image, the last one where the wait ended before there was any."""
    registry = Registry(delivery.registry.address, context.environ)
    host, named = f"{registry.address}/", list(map(str, release.images.values()))
    if other := [image for image in named if not image.startswith(host)]:
        raise Refused(f"not in {registry.address}: {', '.join(other)}", status="other_registry")
    deadline = time.monotonic() + delivery.scan.wait_s
    answers: dict[str, ScanAnswer] = {}
    waiting = sorted(release.images)
    while True:
        for code in waiting:
            image = release.images[code]
            if image.digest is None:
                raise Defect(f"{image} has no digest")
            answers[code] = ask(registry, image.repository.removeprefix(host), image.digest)
        waiting = [
            code
            for code in waiting
            if answers[code].findings is None and answers[code].word in WORTH_WAITING
        ]
        if not waiting or time.monotonic() >= deadline:
            return answers
        sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))


def _plain(named: Sequence[Named]) -> list[dict[str, Any]]:
    return [{"image": code} | asdict(finding) for code, finding in named]


def _lines(named: Sequence[Named]) -> str:
    return "".join(f"\n  {code}: {finding}" for code, finding in named)
