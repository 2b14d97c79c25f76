"""`ci status`: what runs where, since when, built from what, and how long that took."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from ci import config
from ci.bump import handshake
from ci.bump.handshake import Standing, shows
from ci.context import Context
from ci.errors import Refused
from ci.outcome import Outcome, columns
from ci.tools import git
from ci.tools.source_repo import SourceRepo

HEADS = ("service", "runs", "for", "built from", "lead time", "behind", "build, notes")


@click.command()
@click.option("--environment", metavar="E", help="only this one")
def status(context: Context, environment: str | None) -> Outcome:
    """Tells what runs where, since when, built from what.

    One table for each environment, from the manifest repository: the image in the file, how long it
    has stood there, the commit it was built from, how long that commit took to get there, how many
    commits the checkout is ahead; and what is held, or was changed by hand.
    """
    delivery = config.load(context.catalogue, context.environ)
    names = [listed.name for listed in delivery.environments]
    if environment:
        names = [delivery.environment(environment).name]
    repo, now, codes = SourceRepo(context.root), context.now(), context.catalogue.services
    lines: list[str] = []
    facts = {}
    with git.checkout(delivery.manifests, context.environ) as manifests:
        standing = handshake.standing(manifests, context.catalogue, delivery)
        for name in names:
            rows = {s.code: _row(s.code, name, standing, repo, now) for s in codes}
            table = columns([HEADS, *(_cells(code, row) for code, row in rows.items())])
            lines += [name, *(f"  {line}" for line in table), ""]
            facts[name] = {"services": rows}
        head = manifests.head
    lines.append(f"manifests at {head[:12]}, {delivery.manifests.url}")
    return Outcome("done", "\n".join(lines), {"manifests": head, "environments": facts})


def _row(
    code: str, environment: str, standing: Standing, repo: SourceRepo, now: datetime
) -> dict[str, Any]:
    """What is known of one service in one environment, as JSON values."""
    shown, problem = None, None
    try:
        shown = standing.images(environment, code)
    except Refused as refused:
        problem = str(refused).splitlines()[0]
    hold = standing.ledger.holds.get((environment, code))
    row: dict[str, Any] = {
        "image": str(shown) if shown else None,
        "tag": (shown.tag or shown.digest) if shown else None,
        "problem": problem,
        "held": {"since": hold.since.isoformat(), "reason": hold.reason} if hold else None,
        "delivered": None,
    }
    runs = standing.ledger.running(environment, code)
    if runs is None:
        return row
    is_here, began = repo.knows(runs.source_commit), runs.committed_at
    return row | {
        "delivered": str(runs.image),
        "drifted": shown is None or not shows(shown, runs.image),
        "kind": runs.kind,
        "since": runs.at.isoformat(),
        "age_s": (now - runs.at).total_seconds(),
        "source_commit": runs.source_commit,
        "subject": repo.subject(runs.source_commit) if is_here else None,
        "committed_at": began.isoformat() if began else None,
        "lead_time_s": (runs.at - began).total_seconds() if began else None,
        "behind": repo.commits_between(runs.source_commit, repo.commit) if is_here else None,
        "build": runs.build,
        "build_url": runs.build_url,
        "run_id": runs.run_id,
        "manifest_commit": runs.manifest_commit,
    }


def _cells(code: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [row["problem"]] if row["problem"] else []
    if row["held"]:
        notes.append(f"held: {row['held']['reason']}")
    if row["delivered"] is None:
        return code, row["tag"] or "–", "–", "never delivered", "–", "–", "; ".join(notes)
    delivered_tag = row["delivered"].partition("@")[0].rpartition(":")[2]
    if row["drifted"] and row["image"]:
        notes.append(f"by hand; {delivered_tag} was delivered")
    if row["build_url"]:
        notes.append(row["build_url"])
    return (
        code,
        row["tag"] or delivered_tag,
        _span(row["age_s"]),
        f"{row['source_commit'][:8]} {(row['subject'] or '')[:40]}".rstrip(),
        _span(row["lead_time_s"]),
        "?" if row["behind"] is None else str(row["behind"]),
        "; ".join(notes),
    )


def _span(span_s: float | None) -> str:
    """A span of time as people say it: 40 s, 12 min, 5 h, 3 d."""
    if span_s is None:
        return "?"
    seconds = max(0, int(span_s))
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < most:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} d"
