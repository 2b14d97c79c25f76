"""`ci resume`: whole releases that were published and never handed over."""

from collections.abc import Callable, Sequence

from ci.bump import bumping, handshake, manifest_repo
from ci.bump.bumping import Releases
from ci.bump.handshake import Handed, Handshake, Means
from ci.config import Delivery, Environment
from ci.context import Context
from ci.errors import Defect, OutsideFault, Refused
from ci.model import Ledger, Release
from ci.outcome import Outcome

# What a git server says of every delivery alike: not a matter of one release.
OF_THE_SERVER = {"credentials", "host_key", "moved", "not_found", "no_branch", "empty", "policy"}


def resume(
    context: Context,
    delivery: Delivery,
    releases: Releases,
    means: Means,
    *,
    last: int = 20,
    cleared: Callable[[Release], object] = lambda _: None,
) -> Outcome:
    """Whole releases that no commit tells of are handed over, the newest first.

    So a service goes to its newest image in one step, not through each it might have had. last: how
    many release records are looked at. cleared: raises when a release may not go on, as when its
    scan was what stopped the run. One that may not, whose history is another, or which these
    manifests do not take, is named and left: it must not stop the build that comes to mend it.
    """
    target = bumping.written_by_bump(delivery, None)
    history = bumping.SourceHistory(context.root)
    with manifest_repo.checkout(
        delivery.manifests, context.environ, sleep=means.sleep, own_branch=target.own_branch
    ) as repo:
        means.at("cloned")
        joined = Handshake(repo, context.catalogue, delivery, means, context.dry_run)
        standing = joined.standing()
        handed, done = [], set[str]()
        unfinished, left = _unfinished(releases, last, standing.ledger, target.name)
        for release in unfinished:
            try:
                gone = bumping.refuse_foreign(context, delivery, release)
                propose = bumping.proposing(release, history, gone=gone)(target.name)
                _, entry = propose(standing)
                if entry is None or done.issuperset(each.code for each in entry.delivered):
                    continue
                cleared(release)
            except (Refused, OutsideFault) as why:
                left.append(f"{release.tag}: left as it is: {why}")
                continue
            try:
                handed.append(joined.hand_over(target.name, propose))
            except Refused as why:  # a newer build may mend what this one cannot
                if why.status in OF_THE_SERVER:
                    raise
                left.append(f"{release.tag}: left as it is: {why}")
                repo.discard()
                continue
            if context.dry_run:
                done.update(each.code for each in entry.delivered)
                repo.discard()
            else:
                repo.refresh()
                standing = joined.standing()
    bumping.keep_diff(context, handed)
    return _resumed(target, handed, left, dry_run=context.dry_run)


def _unfinished(
    releases: Releases, last: int, book: Ledger, environment: str
) -> tuple[list[Release], list[str]]:
    """Releases of the last ones whose run the book does not know, the newest first.

    Beside them a line for each tag that is no record; somebody put it there, and it is left.
    """
    found, left = [], []
    for tag in list(releases.release_tags())[:last]:
        try:
            release = releases.read_release(tag)
        except (Refused, Defect) as why:
            left.append(f"{tag}: left as it is: {why}")
            continue
        if release and release.run_id not in book.runs.get(environment, frozenset()):
            found.append(release)
    return sorted(found, key=lambda each: each.committed_at, reverse=True), left


def _resumed(
    target: Environment, handed: Sequence[Handed], left: Sequence[str], *, dry_run: bool
) -> Outcome:
    parts = [handshake.told(each, dry_run=dry_run) for each in handed]
    facts = {"environment": target.name, "handed_over": [p.facts for p in parts], "left": [*left]}
    lines = [*(part.text for part in parts), *left]
    if not handed:
        lines.append(f"{target.name}: no release is left unfinished")
    status = "resumed" if any(each.message for each in handed) else "nothing"
    return Outcome(status, "\n".join(lines), facts)
