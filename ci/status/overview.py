"""`ci status`: what runs where, since when, built from what, and how long that took."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from ci.bump import handshake, manifest_repo
from ci.bump.handshake import Standing, shows
from ci.config import Delivery
from ci.context import Context
from ci.errors import Refused
from ci.manifests import Reading
from ci.model import Deployment, Hold, Ledger, Service
from ci.outcome import Outcome
from ci.tools.source_repo import SourceRepo

LEAD_TIMES = 10
COLUMNS = ("service", "runs", "for", "built from", "lead time", "behind", "build, notes")


@dataclass(frozen=True)
class Row:
    """One service in one environment. shown: what the file says; None when it cannot be read."""

    service: Service
    shown: Reading | None
    runs: Deployment | None
    hold: Hold | None
    subject: str | None
    behind: int | None
    problem: str | None = None

    @property
    def drifted(self) -> bool:
        """Whether the file shows what nobody delivered."""
        if self.runs is None:
            return False
        return self.shown is None or not shows(self.shown, self.runs.image)


def main(context: Context, delivery: Delivery, names: Sequence[str]) -> Outcome:
    """The status of these environments."""
    repo, now = SourceRepo(context.root), context.now()
    with manifest_repo.checkout(delivery.manifests, context.environ) as manifests:
        standing = handshake.standing(manifests, context.catalogue, delivery)
        tables = {
            name: [row(service, name, standing, repo) for service in context.catalogue.services]
            for name in names
        }
        head = manifests.head
    lines, facts = [], {}
    for name, rows in tables.items():
        usual = median_lead_time(standing.ledger, name)
        lines += [*table(name, rows, now, usual), ""]
        facts[name] = {
            "median_lead_time_s": usual.total_seconds() if usual else None,
            "services": {each.service.code: as_facts(each, now) for each in rows},
        }
    lines.append(f"manifests at {head[:12]}, {delivery.manifests.url}")
    return Outcome("done", "\n".join(lines), {"manifests": head, "environments": facts})


def row(service: Service, environment: str, standing: Standing, repo: SourceRepo) -> Row:
    """What is known of one service in one environment."""
    problem, shown = None, None
    try:
        shown = standing.images(environment, service.code)
    except Refused as refused:
        problem = str(refused).splitlines()[0]
    runs = standing.ledger.running(environment, service.code)
    is_here = runs is not None and repo.knows(runs.source_commit)
    return Row(
        service=service,
        shown=shown,
        runs=runs,
        hold=standing.ledger.holds.get((environment, service.code)),
        subject=repo.subject(runs.source_commit) if runs and is_here else None,
        behind=repo.commits_between(runs.source_commit, repo.commit) if runs and is_here else None,
        problem=problem,
    )


def lead_time(deployment: Deployment) -> timedelta | None:
    """From the commit of the source to the commit of the manifests."""
    return deployment.at - deployment.committed_at if deployment.committed_at else None


def median_lead_time(book: Ledger, environment: str) -> timedelta | None:
    """The median of the last deliveries' lead times; one value for each commit, no rollbacks."""
    commits = {
        each.manifest_commit: each
        for (name, _), every in book.deployments.items()
        if name == environment
        for each in every
        if each.kind != "rollback"
    }
    newest = sorted(commits.values(), key=lambda each: each.at, reverse=True)[:LEAD_TIMES]
    times = [time.total_seconds() for each in newest if (time := lead_time(each)) is not None]
    return timedelta(seconds=median(times)) if times else None


def table(
    environment: str, rows: Sequence[Row], now: datetime, usual: timedelta | None
) -> list[str]:
    """The lines of one environment."""
    cells = [COLUMNS, *(_cells(each, now) for each in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    title = environment + (f"   lead time, median of the last: {told(usual)}" if usual else "")
    return [
        title,
        *(
            "  "
            + "  ".join(
                cell.ljust(width) for cell, width in zip(line, widths, strict=True)
            ).rstrip()
            for line in cells
        ),
    ]


def told(span: timedelta | None) -> str:
    """A span of time as people say it: 40 s, 12 min, 5 h, 3 d."""
    if span is None:
        return "?"
    seconds = max(0, int(span.total_seconds()))
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < most:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} d"


def as_facts(each: Row, now: datetime) -> dict[str, Any]:
    """JSON values of one row."""
    runs, time = each.runs, lead_time(each.runs) if each.runs else None
    return {
        "image": str(each.shown) if each.shown else None,
        "problem": each.problem,
        "delivered": str(runs.image) if runs else None,
        "drifted": each.drifted,
        "kind": runs.kind if runs else None,
        "since": runs.at.isoformat() if runs else None,
        "age_s": (now - runs.at).total_seconds() if runs else None,
        "source_commit": runs.source_commit if runs else None,
        "subject": each.subject,
        "committed_at": runs.committed_at.isoformat() if runs and runs.committed_at else None,
        "lead_time_s": time.total_seconds() if time is not None else None,
        "behind": each.behind,
        "build": runs.build if runs else None,
        "build_url": runs.build_url if runs else None,
        "run_id": runs.run_id if runs else None,
        "manifest_commit": runs.manifest_commit if runs else None,
        "held": {"since": each.hold.since.isoformat(), "reason": each.hold.reason}
        if each.hold
        else None,
    }


def _cells(each: Row, now: datetime) -> tuple[str, ...]:
    runs = each.runs
    notes = []
    if each.problem:
        notes.append(each.problem)
    if each.hold:
        notes.append(f"held: {each.hold.reason}")
    if each.drifted and each.shown and runs:
        notes.append(f"by hand; {runs.image.tag} was delivered")
    if runs and runs.build_url:
        notes.append(runs.build_url)
    if runs is None:
        tag = _tag(each) or "–"
        return (each.service.code, tag, "–", "never delivered", "–", "–", "; ".join(notes))
    subject = f" {each.subject[:40]}" if each.subject else ""
    return (
        each.service.code,
        _tag(each) or runs.image.tag,
        told(now - runs.at),
        f"{runs.source_commit[:8]}{subject}",
        told(lead_time(runs)),
        "?" if each.behind is None else str(each.behind),
        "; ".join(notes),
    )


def _tag(each: Row) -> str | None:
    return (each.shown.tag or each.shown.digest) if each.shown else None
