"""`ci scan`: waits for the registry's findings of a release, and judges them.

Source: Amazon ECR API reference, DescribeImageScanFindings, basic and enhanced.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ci import config
from ci.config import Delivery
from ci.context import Context
from ci.errors import Defect, OutsideFault, Refused
from ci.model import Release
from ci.outcome import Outcome
from ci.plan import planning
from ci.plan.planning import PLAN_OPTION
from ci.push import publish
from ci.scan import findings
from ci.scan.findings import Finding, Named, ScanAnswer
from ci.tools.ecr import Registry

POLL_S = 2.0
NEVER_SCANNED = "ScanNotFoundException"
WORTH_WAITING = {*findings.PENDING, NEVER_SCANNED}  # a scan on push begins a little later

Sleep = Callable[[float], None]


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
    return judge(context, delivery, publish.read_release(context.handed_on / "release.json"))


def judge(
    context: Context, delivery: Delivery, release: Release, sleep: Sleep = time.sleep
) -> Outcome:
    """Every image of `release` was scanned and nothing in it stops the release."""
    scan, today = delivery.scan, context.now().date()
    file = context.root / scan.waivers
    waivers = findings.waivers(file.read_bytes() if file.exists() else b"", file.name)
    if expired := [waiver for waiver in waivers if waiver.expires < today]:
        text = f"waivers in {scan.waivers} have expired; renew them or take them out:"
        text += "".join(f"\n  {w.id}: expired {w.expires}; {w.reason}" for w in expired)
        raise Refused(text, status="expired_waiver", expired=[waiver.id for waiver in expired])
    with context.screen.step(f"findings of {len(release.images)} images, tag {release.tag}"):
        answers = _answers(context, delivery, release, sleep)
    answered = {code: a.findings for code, a in answers.items() if a.findings is not None}
    silent = {code: answer for code, answer in answers.items() if code not in answered}
    blocking, waived, unused = findings.judge(answered, scan.fail_on, waivers, today)
    images = {c: {"image": str(release.images[c])} | asdict(answers[c]) for c in answers}
    facts = {
        "release": release.tag,
        "fail_on": scan.fail_on,
        "images": images,
        "blocking": None if silent else _plain(blocking),
        "waived": None if silent else _plain(waived),
    }
    if not context.dry_run:
        context.hand_on("scan.json", json.dumps(facts, indent=2))
    if silent:
        text = f"no findings to judge after {scan.wait_s:g} s; that is not the same as none:"
        for code, answer in silent.items():
            text += f"\n  {code}: {answer.word}: {answer.description}"
        if all(answer.word in findings.PENDING for answer in silent.values()):
            raise OutsideFault(text, status="scan_pending", **facts)
        raise Refused(text, status="scan_failed", **facts)
    if blocking:
        text = f"{len(blocking)} findings of {scan.fail_on} or above, not waived:"
        raise Refused(text + _lines(blocking), status="findings", **facts)
    text = f"{len(answers)} images scanned; nothing of {scan.fail_on} or above but waived"
    if waived:
        text += f"\nwaived:{_lines(waived)}"
    text += "".join(f"\nwaiver {waiver.id} covers nothing any more" for waiver in unused)
    return Outcome("waived" if waived else "clean", text, facts)


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
                if not findings.is_answer(word, has_results=bool(results)):
                    return ScanAnswer(word, about)
                collected += _findings(results or {})
        except registry.client.exceptions.ScanNotFoundException:
            return ScanAnswer(NEVER_SCANNED, "is scan on push on, and is the registry's scanner?")
    return ScanAnswer(word, about, collected)


def _findings(results: Mapping[str, Any]) -> Iterator[Finding]:
    for entry in results.get("findings", ()):
        named = {pair["key"]: pair.get("value", "") for pair in entry.get("attributes", ())}
        yield Finding(
            id=entry.get("name", ""),
            severity=entry.get("severity", ""),
            package=named.get("package_name", ""),
            version=named.get("package_version", ""),
            uri=entry.get("uri"),
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
    context: Context, delivery: Delivery, release: Release, sleep: Sleep
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
        silent = [code for code in waiting if answers[code].findings is None]
        waiting = [code for code in silent if answers[code].word in WORTH_WAITING]
        if not waiting or time.monotonic() >= deadline:
            return answers
        sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))


def _plain(named: Sequence[Named]) -> list[dict[str, Any]]:
    return [{"image": code} | asdict(finding) for code, finding in named]


def _lines(named: Sequence[Named]) -> str:
    return "".join(f"\n  {code}: {finding}" for code, finding in named)
