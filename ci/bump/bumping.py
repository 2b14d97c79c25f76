"""`ci bump`: the release of this build becomes what the first environment runs."""

import click

from ci import config, push
from ci.bump import handshake
from ci.bump.handshake import Means, Standing, Verdict
from ci.bump.ledger import Delivered, Entry
from ci.config import Delivery
from ci.context import Context
from ci.errors import Refused
from ci.model import Release
from ci.outcome import Outcome
from ci.plan import facts, planning
from ci.plan.facts import BuildFacts
from ci.tools.ecr import Registry
from ci.tools.source_repo import SourceRepo


@click.command()
@click.option("--diverged", is_flag=True, help="also over a commit whose history is another")
def bump(context: Context, *, diverged: bool) -> Outcome:
    """Writes the new images into the manifest repository: the handshake.

    Reads the release that `push` left and asks the registry again for each digest; clones the
    manifest repository, and edits nothing but the image scalars, byte for byte; renders before and
    after, commits once for all services, pushes. When somebody else was first it decides again from
    what is there now, a bounded number of times, never by force. A service that is held, or that
    already runs a newer commit, is named and left as it is.

    With --dry-run it needs no build server: it shows what a release.json would change.
    """
    delivery = config.load(context.catalogue, context.environ)
    if context.dry_run:
        facts.refuse_elsewhere(context, delivery)
        build = facts.gather(context)
    else:
        build = facts.publishing(context, delivery)
    release = handed_on(context, delivery, build)
    if release is None:
        return Outcome("nothing", "nothing was to be built, so nothing changes what runs")
    means = handshake.real(context, delivery)
    return deliver(context, delivery, release, means, diverged_too=diverged)


def deliver(
    context: Context,
    delivery: Delivery,
    release: Release,
    means: Means,
    *,
    diverged_too: bool = False,
) -> Outcome:
    """The release is what the first environment runs, or it is told why not; writes `bump.diff`."""
    target, history = delivery.first.name, SourceRepo(context.root)

    def verdict(code: str, standing: Standing) -> Verdict:
        for deployment in standing.ledger.deployments.get((target, code), ()):
            if deployment.run_id == release.run_id and deployment.kind == "bump":
                text = f"this run delivered it in {deployment.manifest_commit[:12]}"
                return Verdict(code, "already", text)
        return standing.verdict(target, code, release, history, diverged_too=diverged_too)

    def propose(standing: Standing) -> tuple[list[Verdict], Entry | None]:
        verdicts = [verdict(code, standing) for code in sorted(release.images)]
        handshake.refuse_diverged(verdicts, "bump")
        codes = [verdict.code for verdict in verdicts if verdict.writes]
        delivered = [Delivered(c, release.images[c], release.source_commit) for c in codes]
        entry = Entry(target, "bump", release.run_id, delivered, release)
        return verdicts, entry if delivered else None

    outcome = handshake.hand_over(context, delivery, target, propose, means=means)
    if not context.dry_run:
        context.hand_on("bump.diff", str(outcome.facts["diff"]))
    return outcome


def handed_on(context: Context, delivery: Delivery, facts: BuildFacts) -> Release | None:
    """The release that `push` of this build left; None when the plan had nothing to build.

    release.json lies in a workspace where tests and builds have run; what they wrote there must not
    decide what is deployed. So each field must be what this build says, and each digest what the
    registry has. A dry run without a build server takes the build from the file.
    """
    plan = context.handed_on / "plan.json"
    if plan.is_file():
        decided = planning.read(plan)
        if decided.commit == facts.commit and not decided.builds:
            return None
    file = context.handed_on / "release.json"
    release = push.read_release(file)
    if facts.build is not None:
        there = release.to_json()
        here = push.release_of(delivery, facts, release.images).to_json()
        if keys := ", ".join(key for key in here if there[key] != here[key]):
            text = f"{file} is left from another build: it has another {keys} than this one"
            raise Refused(text, status="stale_release")
    registry = Registry(delivery.registry.address, context.environ)
    services = {service.code: service for service in context.catalogue.services}
    for code, image in release.images.items():
        ours = delivery.registry.image(services[code], release.tag) if code in services else None
        if ours is None or (image.repository, image.tag) != (ours.repository, ours.tag):
            text = f"{release.tag}: {image} is not {ours}, where images of {code} are pushed"
            raise Refused(text, status="other_registry")
        stored = registry.find(delivery.registry.repository(services[code]), image.tag)
        if stored != image.digest:
            text = f"{image} is not what the registry has under that tag: {stored or 'nothing'}"
            raise Refused(f"{text}; `python -m ci push` comes first", status="digest_mismatch")
    return release
