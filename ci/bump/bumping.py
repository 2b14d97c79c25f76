"""`ci bump`: a release becomes what the first environment runs."""

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from ci.bump import handshake, manifest_repo, order
from ci.bump.handshake import Handed, Handshake, Means, Propose, Standing
from ci.bump.ledger import Delivered, Entry
from ci.bump.order import History, Verdict
from ci.config import Delivery, Environment
from ci.context import Context
from ci.errors import Refused, UsageError
from ci.model import Release
from ci.outcome import Outcome
from ci.plan import planning
from ci.plan.build_facts import BuildFacts
from ci.push.publish import read_release
from ci.tools.source_repo import SourceRepo, is_shallow


class Releases(Protocol):
    """The records of whole releases, as the registry keeps them."""

    def release_tags(self) -> Sequence[str]:
        """The tags of all records, newest first."""

    def read_release(self, tag: str) -> Release | None:
        """One record; None when there is none."""


class SourceHistory:
    """The history of the checkout, which says when it was cut off."""

    def __init__(self, root: Path) -> None:
        self._repo = SourceRepo(root)
        self._is_shallow = is_shallow(root)

    def knows(self, commit: str) -> bool:
        """Whether that commit is here."""
        return self._repo.knows(commit)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`; a shallow clone cannot say no, and does not."""
        are_here = self.knows(older) and self.knows(newer)
        if are_here and self._repo.is_ancestor(older, newer):
            return True
        if self._is_shallow:
            text = (
                f"this clone is shallow and cannot tell whether {newer[:12]} follows {older[:12]};"
                " fetch the full history (`git fetch --unshallow`; in Jenkins: no shallow clone)"
            )
            raise Refused(text, status="shallow", older=older, newer=newer)
        return False


def proposing(
    release: Release, history: History, *, gone: Collection[str] = (), diverged_too: bool = False
) -> Callable[[str], Propose]:
    """The rule of a bump, for an environment: each service by its hold and by its commit.

    gone: codes of services that ci.toml no longer has.
    """

    def into(environment: str) -> Propose:
        def propose(standing: Standing) -> tuple[Sequence[Verdict], Entry | None]:
            verdicts = [
                Verdict(code, "nothing", "ci/ci.toml has no such service any more")
                if code in gone
                else _verdict(
                    code, release, environment, standing, history, diverged_too=diverged_too
                )
                for code in sorted(release.images)
            ]
            handshake.refuse_diverged(verdicts, "bump")
            return (verdicts, _entry(release, environment, verdicts))

        return propose

    return into


def bump(
    context: Context,
    delivery: Delivery,
    release: Release,
    means: Means,
    *,
    environment: str | None = None,
    diverged_too: bool = False,
) -> Outcome:
    """The release is what the environment runs, or it is told why not; `bump.diff` is written."""
    target = written_by_bump(delivery, environment)
    gone = refuse_foreign(context, delivery, release)
    history = SourceHistory(context.root)
    propose = proposing(release, history, gone=gone, diverged_too=diverged_too)
    with manifest_repo.checkout(
        delivery.manifests, context.environ, sleep=means.sleep, own_branch=target.own_branch
    ) as repo:
        means.at("cloned")
        joined = Handshake(repo, context.catalogue, delivery, means, context.dry_run)
        handed = joined.hand_over(target.name, propose(target.name))
    keep_diff(context, [handed])
    return handshake.told(handed, dry_run=context.dry_run)


def handed_on(context: Context, facts: BuildFacts) -> Release | None:
    """The release that `push` of this build left; None when the plan had nothing to build."""
    file, plan = context.handed_on / "release.json", context.handed_on / "plan.json"
    if plan.is_file():
        decided = planning.read(plan)
        if decided.commit == facts.commit and not decided.builds:
            return None
    release = read_release(file)
    if release.source_commit != facts.commit:
        text = f"{file} is of {release.source_commit[:12]}, this build is of {facts.commit[:12]}"
        raise Refused(f"{text}; it is left from another build", status="stale_release")
    return release


def recorded(releases: Releases, release: Release) -> Release:
    """`release`, once the registry has the very same on record.

    release.json lies in a workspace where tests and builds have run; what they wrote there must not
    decide what is deployed. The record could only be written with the registry's credentials.
    """
    recorded_release = releases.read_release(release.tag)
    if recorded_release is None:
        text = (
            f"the registry has no record of release {release.tag}; `python -m ci push` comes first"
        )
        raise Refused(text, status="no_release")
    if recorded_release.to_json() != release.to_json():
        ours, theirs = (
            json.dumps(each.to_json(), sort_keys=True) for each in (release, recorded_release)
        )
        text = f"release.json is not what the registry has on record as {release.tag}:\n"
        raise Refused(f"{text}  here     {ours}\n  recorded {theirs}", status="other_release")
    return recorded_release


def refuse_foreign(context: Context, delivery: Delivery, release: Release) -> set[str]:
    """`Refused` when an image is not from here; codes of the release that ci.toml has no more."""
    services = {each.code: each for each in context.catalogue.services}
    for code in services.keys() & release.images.keys():
        image = release.images[code]
        ours = delivery.registry.image(services[code], image.tag).repository
        mixed_up = image.name != services[code].image  # the handshake has its own word for that
        if delivery.registry.address and image.repository != ours and not mixed_up:
            text = f"{release.tag}: {image} is not of {ours}, where images of {code} are pushed"
            raise Refused(text, status="other_registry")
    return release.images.keys() - services.keys()


def _verdict(
    code: str,
    release: Release,
    environment: str,
    standing: Standing,
    history: History,
    *,
    diverged_too: bool,
) -> Verdict:
    for each in standing.ledger.deployments.get((environment, code), ()):
        if each.run_id == release.run_id and each.kind == "bump":
            text = f"this run delivered it in {each.manifest_commit[:12]}"
            return Verdict(code, "already", text)
    return order.decide(
        code,
        release.source_commit,
        release.committed_at,
        running=standing.running(environment, code),
        hold=standing.ledger.holds.get((environment, code)),
        history=history,
        diverged_too=diverged_too,
    )


def _entry(release: Release, environment: str, verdicts: Sequence[Verdict]) -> Entry | None:
    written = [each.code for each in verdicts if each.writes]
    if not written:
        return None
    return Entry(
        environment=environment,
        kind="bump",
        run_id=release.run_id,
        delivered=[
            Delivered(code, release.images[code], release.source_commit) for code in written
        ],
        release_tag=release.tag,
        build=release.build,
        build_url=release.build_url,
        source_repo=release.source_repo,
        source_commit=release.source_commit,
        committed_at=release.committed_at,
    )


def written_by_bump(delivery: Delivery, name: str | None) -> Environment:
    """The environment of that name, or the first; `Refused` when it is one to promote to."""
    environment = delivery.environment(name) if name else delivery.first
    if environment.promoted_from:
        text = f"{environment.name} is promoted from {environment.promoted_from}, never bumped"
        raise Refused(
            f"{text}; `python -m ci promote {environment.promoted_from} {environment.name}`",
            status="wrong_environment",
        )
    return environment


def keep_diff(context: Context, handed: Sequence[Handed]) -> None:
    """The diffs of this run are left for the build server."""
    if context.dry_run:
        return
    context.handed_on.mkdir(parents=True, exist_ok=True)
    text = "".join(each.diff for each in handed)
    (context.handed_on / "bump.diff").write_text(text, encoding="utf-8")


def has_handed_on(context: Context) -> bool:
    """Whether the stages before left anything here, as they do on a build server."""
    return any((context.handed_on / name).is_file() for name in ("release.json", "plan.json"))


def find_release(releases: Releases, tag: str | None) -> Release:
    """The release with that tag, or the newest; `UsageError` lists the newest there are."""
    tags = list(releases.release_tags())[:5]
    wanted = tag or next(iter(tags), None)
    if wanted and (release := releases.read_release(wanted)):
        return release
    raise UsageError(f"no release {tag or 'at all'!r}; the newest are {', '.join(tags) or 'none'}")
