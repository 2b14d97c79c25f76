"""`ci bump`: a release becomes what the first environment runs."""

from ci.bump import handshake, order
from ci.bump.handshake import Means, Standing
from ci.bump.ledger import Delivered, Entry
from ci.bump.order import Verdict
from ci.config import Delivery, Environment
from ci.context import Context
from ci.errors import Refused
from ci.model import Release
from ci.outcome import Outcome
from ci.plan import planning
from ci.plan.build_facts import BuildFacts
from ci.push import publish
from ci.tools.ecr import Registry
from ci.tools.source_repo import SourceRepo


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
    target = _written_by_bump(delivery, environment).name
    history = SourceRepo(context.root)

    def propose(standing: Standing) -> tuple[list[Verdict], Entry | None]:
        verdicts = [
            _verdict(code, release, target, standing, history, diverged_too=diverged_too)
            for code in sorted(release.images)
        ]
        handshake.refuse_diverged(verdicts, "bump")
        delivered = [
            Delivered(verdict.code, release.images[verdict.code], release.source_commit)
            for verdict in verdicts
            if verdict.writes
        ]
        if not delivered:
            return verdicts, None
        return verdicts, Entry(target, "bump", release.run_id, delivered, release)

    outcome = handshake.hand_over(context, delivery, target, propose, means=means)
    if not context.dry_run:
        context.handed_on.mkdir(parents=True, exist_ok=True)
        diff = str(outcome.facts["diff"])
        (context.handed_on / "bump.diff").write_text(diff, encoding="utf-8")
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
    release = publish.read_release(file)
    if facts.build is not None:
        ours = publish.release_of(delivery, facts, release.images)
        if release != ours:
            there, here = release.to_json(), ours.to_json()
            keys = ", ".join(key for key in here if there[key] != here[key])
            text = f"{file} is left from another build: it has another {keys} than this one"
            raise Refused(text, status="stale_release")
    registry = Registry(delivery.registry.address, context.environ)
    services = {service.code: service for service in context.catalogue.services}
    for code, image in release.images.items():
        ours_of = delivery.registry.image(services[code], release.tag) if code in services else None
        if ours_of is None or (image.repository, image.tag) != (ours_of.repository, ours_of.tag):
            text = f"{release.tag}: {image} is not {ours_of}, where images of {code} are pushed"
            raise Refused(text, status="other_registry")
        stored = registry.find(delivery.registry.repository(services[code]), image.tag)
        if stored is None or stored.digest != image.digest:
            text = f"{image} is not what the registry has under that tag: "
            text += stored.digest if stored else "nothing"
            raise Refused(f"{text}; `python -m ci push` comes first", status="digest_mismatch")
    return release


def _written_by_bump(delivery: Delivery, name: str | None) -> Environment:
    """The environment of that name, or the first; `Refused` when it is one to promote to."""
    environment = delivery.environment(name) if name else delivery.first
    if environment.promoted_from:
        text = f"{environment.name} is promoted from {environment.promoted_from}, never bumped"
        command = f"python -m ci promote {environment.promoted_from} {environment.name}"
        raise Refused(f"{text}; `{command}`", status="wrong_environment")
    return environment


def _verdict(
    code: str,
    release: Release,
    environment: str,
    standing: Standing,
    history: SourceRepo,
    *,
    diverged_too: bool,
) -> Verdict:
    for deployment in standing.ledger.deployments.get((environment, code), ()):
        if deployment.run_id == release.run_id and deployment.kind == "bump":
            text = f"this run delivered it in {deployment.manifest_commit[:12]}"
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
