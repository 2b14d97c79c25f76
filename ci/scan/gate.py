"""`ci scan`: waits for the registry's findings of a release and judges them.

The four ways of getting no answer have a status each, and none of them is green.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ci.config import Delivery
from ci.context import Context
from ci.errors import CiError, Defect, OutsideFault, Refused
from ci.model import ImageRef, Release
from ci.outcome import Outcome
from ci.scan import findings
from ci.scan.answers import ask
from ci.scan.findings import Finding, ScanAnswer, Verdict, Waiver
from ci.tools.ecr import Registry

POLL_S = 2.0
WORTH_WAITING = {findings.PENDING, findings.NOT_FOUND}  # a scan on push begins a little later
MEANING = {
    findings.NOT_FOUND: "was never scanned: is scan on push on, and is the registry's scanner?",
    findings.PENDING: "is still being scanned",
    findings.FAILED: "could not be scanned",
    findings.UNSUPPORTED: "is of a kind the scanner does not support",
}

Sleep = Callable[[float], None]


def main(
    context: Context, delivery: Delivery, release: Release, sleep: Sleep = time.sleep
) -> Outcome:
    """Every image of `release` was scanned and nothing in it stops the release."""
    waivers = _waivers(context.root / delivery.scan.waivers)
    today = context.now().date()
    if expired := [waiver for waiver in waivers if waiver.expires < today]:
        lines = [f"{waiver.id}: expired {waiver.expires}; {waiver.reason}" for waiver in expired]
        raise Refused(
            f"waivers in {delivery.scan.waivers} have expired; renew them or take them out:\n  "
            + "\n  ".join(lines),
            status="expired_waiver",
            expired=[waiver.id for waiver in expired],
        )
    registry = Registry(delivery.registry.address, context.environ)
    host = f"{delivery.registry.address}/"
    if other := [str(ref) for ref in release.images.values() if not str(ref).startswith(host)]:
        raise Refused(
            f"not in {delivery.registry.address}: {', '.join(other)}", status="other_registry"
        )
    with context.screen.step(f"findings of {len(release.images)} images, tag {release.tag}"):
        answers = _answers(registry, release, host, delivery.scan.wait_s, sleep)
    verdict: Verdict | None = None
    missing = {
        code: answer for code, answer in answers.items() if answer.state != findings.ANSWERED
    }
    if not missing:
        named = [(code, answer) for code, answer in answers.items()]
        verdict = findings.judge(named, delivery.scan.fail_on, waivers, today)
    facts = _facts(release, answers, verdict, delivery.scan.fail_on)
    if not context.dry_run:
        file = context.handed_on / "scan.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    if verdict is None:
        raise _no_answer(missing, facts, delivery.scan.wait_s)
    if verdict.blocking:
        raise Refused(
            f"{len(verdict.blocking)} findings of {delivery.scan.fail_on} or above, not waived:\n"
            + _lines(verdict.blocking),
            status="findings",
            **facts,
        )
    lines = [
        f"{len(answers)} images scanned; nothing of {delivery.scan.fail_on} or above but waived"
    ]
    if verdict.waived:
        lines.append(f"waived:\n{_lines(verdict.waived)}")
    lines += [f"waiver {waiver.id} covers nothing any more" for waiver in verdict.unused]
    return Outcome("clean" if not verdict.waived else "waived", "\n".join(lines), facts)


def _answers(
    registry: Registry, release: Release, host: str, wait_s: float, sleep: Sleep
) -> dict[str, ScanAnswer]:
    """One answer for each image, the last one where the wait ended before there was any."""
    deadline = time.monotonic() + wait_s
    answers: dict[str, ScanAnswer] = {}
    waiting: dict[str, ImageRef] = dict(sorted(release.images.items()))
    while True:
        for code, ref in list(waiting.items()):
            if ref.digest is None:
                raise Defect(f"{ref} has no digest")
            answers[code] = ask(registry, ref.repository.removeprefix(host), ref.digest)
            if answers[code].state not in WORTH_WAITING:
                del waiting[code]
        if not waiting or time.monotonic() >= deadline:
            return answers
        sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))


def _no_answer(
    missing: Mapping[str, ScanAnswer], facts: Mapping[str, Any], wait_s: float
) -> CiError:
    """The error for images without an answer; the gravest state decides."""
    order = [findings.FAILED, findings.UNSUPPORTED, findings.NOT_FOUND, findings.PENDING]
    state = min((answer.state for answer in missing.values()), key=order.index)
    lines = []
    for code, answer in missing.items():
        about = f": {answer.description}" if answer.description else ""
        lines.append(f"{code} {MEANING[answer.state]} ({answer.word}{about})")
    text = f"no findings to judge after {wait_s:g} s; that is not the same as none:\n  "
    kind: type[CiError] = OutsideFault if state == findings.PENDING else Refused
    return kind(text + "\n  ".join(lines), status=f"scan_{state}", **facts)


def _facts(
    release: Release, answers: Mapping[str, ScanAnswer], verdict: Verdict | None, fail_on: str
) -> dict[str, Any]:
    return {
        "release": release.tag,
        "fail_on": fail_on,
        "images": {
            code: {
                "image": str(release.images[code]),
                "state": answer.state,
                "word": answer.word,
                "findings": [_plain(finding) for finding in answer.findings],
            }
            for code, answer in answers.items()
        },
        "blocking": _named(verdict.blocking) if verdict else None,
        "waived": _named(verdict.waived) if verdict else None,
    }


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": finding.severity,
        "package": finding.package,
        "version": finding.version,
        "fixed_in": finding.fixed_in,
        "uri": finding.uri,
    }


def _named(pairs: tuple[tuple[str, Finding], ...]) -> list[dict[str, Any]]:
    return [{"image": code} | _plain(finding) for code, finding in pairs]


def _lines(pairs: tuple[tuple[str, Finding], ...]) -> str:
    return "\n".join(f"  {code}: {finding}" for code, finding in pairs)


def _waivers(file: Path) -> list[Waiver]:
    try:
        return findings.waivers(file.read_text(encoding="utf-8"), str(file.name))
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as exc:
        raise Defect(f"{file.name} is not UTF-8: {exc}") from exc
