"""`ci push`: looks first, pushes second, reads the digest back third; whole or not handed on.

    guard ─▶ repositories ─▶ for each image: look ─▶ push ─▶ read back ─▶ all there: release.json
A run that dies on the way leaves images and nothing else; the next build begins from what runs.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ci import config
from ci.build.building import image
from ci.config import Delivery
from ci.context import Context
from ci.errors import Defect, OutsideFault, Refused
from ci.model import ImageRef, Release, Service
from ci.outcome import Outcome
from ci.plan import build_facts, planning
from ci.plan import facts as build
from ci.plan.build_facts import BuildFacts
from ci.plan.planning import PLAN_OPTION
from ci.push import publication
from ci.push.publication import ALREADY, PUSH, REFUSED, Decision, Stored
from ci.tools.docker import PUSH_S, Docker, pushed_digest
from ci.tools.ecr import Registry

TRIES, PAUSE_S = 3, 1.0


@click.command()
@click.argument("service", nargs=-1)
@PLAN_OPTION
def push(context: Context, service: Sequence[str], plan: Path | None) -> Outcome:
    """Publishes the built images: looks first, pushes second, reads the digests back third.

    The tag is the build's. An equal image under it is success, another one is refused, with both.
    When all images of the set were read back from the registry, release.json is written; before
    that nothing is handed on. A repository that is missing, or whose tags could be overwritten, is
    refused with the command that mends it.

    SERVICE: folders or codes (all; with --plan: its own)
    """
    services, why_not = planning.chosen(context, service, plan)
    if not services:
        return Outcome("nothing", f"nothing to publish: {why_not}", {"pushed": []})
    delivery = config.load(context.catalogue, context.environ)
    return main(context, delivery, services)


def main(context: Context, delivery: Delivery, services: Sequence[Service]) -> Outcome:
    """The images of `services` are in the registry, and release.json names them by digest."""
    facts = build.publishing(context, delivery)
    tag = build_facts.tag(delivery.tag, facts)
    registry = Registry(delivery.registry.address, context.environ)
    for service in services:
        refuse_mutable(registry, delivery.registry.repository(service), tag)
    docker = Docker(context.root, context.environ)
    run = _Run(context, delivery, facts, tag, registry, docker)
    decisions = {service.code: run.look(service) for service in services}
    if refused := {code: made for code, made in decisions.items() if made.do == REFUSED}:
        lines = [f"{code}: {decision.why}" for code, decision in refused.items()]
        missing = all(decision.digest is None for decision in refused.values())
        raise Refused(
            f"nothing is handed on, tag {tag}:\n  " + "\n  ".join(lines),
            status="not_built" if missing else "other_image",
            images={code: {"stored": decision.digest} for code, decision in refused.items()},
        )
    new = sorted(code for code, decision in decisions.items() if decision.do == PUSH)
    count = f"{len(services)} images, tag {tag}"
    if context.dry_run:
        lines = [f"  {code}: {decision.do}, {decision.why}" for code, decision in decisions.items()]
        text = f"{count}: would push {len(new)}, {len(services) - len(new)} are there already"
        return Outcome("done", "\n".join([text, *lines]), {"tag": tag})
    images = {
        s.code: delivery.registry.image(s, tag, decisions[s.code].digest or run.push(s))
        for s in services
    }
    release = release_of(delivery, facts, images).to_json()
    context.hand_on("release.json", json.dumps(release, indent=2))
    text = f"{count}: {len(new)} pushed, {len(services) - len(new)} there already"
    lines = [f"  {code}: {ref}" for code, ref in images.items()]
    return Outcome(
        "pushed" if new else "already",
        "\n".join([text, *lines]),
        {"release": release, "pushed": new},
    )


def release_of(delivery: Delivery, facts: BuildFacts, images: Mapping[str, ImageRef]) -> Release:
    """The release of this build, with these images."""
    assert facts.build is not None  # `may_not_publish` saw to it
    return Release(
        run_id=facts.run_id,
        tag=build_facts.tag(delivery.tag, facts),
        build=facts.build,
        build_url=facts.build_url,
        source_commit=facts.commit,
        source_repo=facts.source_repo,
        committed_at=facts.committed_at,
        images=images,
    )


def read_release(file: Path) -> Release:
    """The release that `push` handed on."""
    try:
        return Release.from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        text = f"{file} is not there; `python -m ci push` leaves it once a release is whole"
        raise Refused(text, status="no_release") from exc
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as exc:
        raise Defect(f"{file} is not a release: {exc!r}") from exc


def refuse_mutable(registry: Registry, name: str, tag: str) -> None:
    """`Refused` unless the repository is there and nobody can overwrite `tag` in it."""
    mend = "aws ecr {} --repository-name " + name + " --image-tag-mutability IMMUTABLE"
    with registry.calling("ecr:DescribeRepositories", name):
        try:
            answer: Any = registry.client.describe_repositories(
                repositoryNames=[name], **registry.account
            )
        except registry.client.exceptions.RepositoryNotFoundException as exc:
            command = mend.format("create-repository")
            text = f"the registry has no repository {name}; make it once: {command}"
            text += " --image-scanning-configuration scanOnPush=true"
            raise Refused(text, status="no_repository") from exc
    described = answer["repositories"][0]
    mutability = described.get("imageTagMutability", "MUTABLE")
    filters = described.get("imageTagMutabilityExclusionFilters") or ()
    if not publication.keeps_tag(mutability, [entry["filter"] for entry in filters], tag):
        text = f"tags in repository {name} can be overwritten ({mutability}): what a manifest"
        text += f" references could change; mend it once: {mend.format('put-image-tag-mutability')}"
        raise Refused(text, status="mutable_repository")


@dataclass(frozen=True)
class _Run:
    """One push of one set."""

    context: Context
    delivery: Delivery
    facts: BuildFacts
    tag: str
    registry: Registry
    docker: Docker

    def look(self, service: Service) -> Decision:
        """What to do with the image of the service; a stored one is pulled to be compared."""
        local = self.docker.inspect(image(self.delivery, service, self.facts).name)
        digest, stored = self._stored(service), None
        if digest:
            stored = self._pulled(self.delivery.registry.image(service, self.tag), digest)
        local_id = local["Id"] if local else None
        return publication.decide(local_id, stored, self.tag, self.facts.commit)

    def _stored(self, service: Service) -> str | None:
        return self.registry.find(self.delivery.registry.repository(service), self.tag)

    def _pulled(self, image: ImageRef, digest: str) -> Stored:
        name = f"{image.repository}@{digest}"
        with self.docker.logged_in(self.registry.login()) as docker:
            docker.good(["docker", "pull", "--quiet", name], PUSH_S)
        pulled = self.docker.inspect(name)
        self.docker.call(["docker", "rmi", name])  # the name, and what only it had
        if pulled is None:
            raise OutsideFault(f"{name} was pulled, but the engine does not have it")
        return Stored(digest, pulled["Id"], pulled["Config"].get("Labels") or {})

    def push(self, service: Service) -> str:
        """The image is in the registry; its digest, from there. Each try has a login of its own."""
        local = image(self.delivery, service, self.facts).name
        target = str(self.delivery.registry.image(service, self.tag))
        with self.context.screen.step(f"{service.code}: push {self.tag}"):
            for left in reversed(range(TRIES)):
                try:
                    with self.docker.logged_in(self.registry.login()) as docker:
                        done = docker.push(local, target)
                    if done.code == 0:
                        return self._read_back(service, pushed_digest(done.stdout))
                    fault = done.last_lines(5) or f"exit code {done.code}"
                except OutsideFault as exc:
                    fault = str(exc)
                meaning = publication.fault(fault)
                if meaning == publication.TAKEN:  # somebody pushed that tag meanwhile
                    decision = self.look(service)
                    if decision.do == ALREADY and decision.digest:
                        return decision.digest
                    raise Refused(f"{service.code}: {decision.why}", status="other_image")
                if meaning == publication.DENIED:
                    raise Refused(f"docker push {target}:\n{fault}", status="push_denied")
                if left:
                    last = fault.splitlines()[-1]
                    self.context.screen.line(f"  … {service.code}: {last}; once more")
                    time.sleep(PAUSE_S * (TRIES - left))
        raise OutsideFault(f"docker push {target}, tried {TRIES} times:\n{fault}")

    def _read_back(self, service: Service, said: str | None) -> str:
        digest = self._stored(service)
        why = publication.differs(said, digest)
        if why or digest is None:
            raise Refused(f"{service.code}:{self.tag}: {why}", status="digest_mismatch")
        return digest
