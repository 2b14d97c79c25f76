"""`ci push`: looks first, pushes second, reads the digest back third; whole or not handed on.

    guard ─▶ repositories ─▶ for each image: look ─▶ push ─▶ read back ─▶ all there: release.json
A run that dies on the way leaves images and nothing else; the next build begins from what runs.

A local image has no digest in the registry's sense before it is pushed, so the stored one is pulled
and its identity compared, as the engine tells it: of its configuration, which holds every layer's
digest and all labels, or, with Docker's containerd store, of its manifest.

    the registry has no such tag             push it
    the engine has them as one image         already there
    there is no local image, and the stored  already there: an earlier run of this build pushed it,
      one says it is this commit and tag       and `build` did not build it again
    anything else                            refused: tags do not change
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from ci import config
from ci.build import image
from ci.config import Delivery
from ci.context import Context
from ci.errors import Defect, OutsideFault, Refused
from ci.model import ImageRef, Release, Service
from ci.outcome import Outcome
from ci.plan import facts as build
from ci.plan import planning
from ci.plan.facts import BuildFacts
from ci.plan.planning import PLAN_OPTION
from ci.tools.docker import PUSH_S, Docker, pushed_digest
from ci.tools.ecr import Registry

TRIES, PAUSE_S = 3, 1.0
PUSH, ALREADY, REFUSED = "push", "already", "refused"
AGAIN, TAKEN, DENIED = "again", "taken", "denied"
VERSION, REVISION = "org.opencontainers.image.version", "org.opencontainers.image.revision"


@dataclass(frozen=True)
class Stored:
    """An image as the registry has it, pulled. id: what the engine calls it."""

    digest: str
    id: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Decision:
    """What to do with one image, and why. digest: the one in the registry, when there is one."""

    do: str
    why: str
    digest: str | None = None


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
    return main(context, config.load(context.catalogue, context.environ), services)


def main(context: Context, delivery: Delivery, services: Sequence[Service]) -> Outcome:
    """The images of `services` are in the registry, and release.json names them by digest."""
    facts = build.publishing(context, delivery)
    tag = build.tag(delivery.publishing.tag, facts)
    registry = Registry(delivery.registry.address, context.environ)
    for service in services:
        refuse_mutable(registry, delivery.registry.repository(service), tag)
    run = _Run(context, delivery, facts, tag, registry, Docker(context.root, context.environ))
    decisions = {service.code: run.look(service) for service in services}
    if refused := {code: made for code, made in decisions.items() if made.do == REFUSED}:
        missing = all(decision.digest is None for decision in refused.values())
        lines = [f"{code}: {decision.why}" for code, decision in refused.items()]
        raise Refused(
            "\n  ".join([f"nothing is handed on, tag {tag}:", *lines]),
            status="not_built" if missing else "other_image",
            images={code: {"stored": decision.digest} for code, decision in refused.items()},
        )
    new = sorted(code for code, decision in decisions.items() if decision.do == PUSH)
    count, old = f"{len(services)} images, tag {tag}", len(services) - len(new)
    if context.dry_run:
        lines = [f"  {code}: {decision.do}, {decision.why}" for code, decision in decisions.items()]
        text = f"{count}: would push {len(new)}, {old} are there already"
        return Outcome("done", "\n".join([text, *lines]), {"tag": tag})
    images = {
        s.code: delivery.registry.image(s, tag, decisions[s.code].digest or run.push(s))
        for s in services
    }
    release = release_of(delivery, facts, images).to_json()
    context.hand_on("release.json", json.dumps(release, indent=2))
    lines = [f"  {code}: {ref}" for code, ref in images.items()]
    text = "\n".join([f"{count}: {len(new)} pushed, {old} there already", *lines])
    return Outcome("pushed" if new else "already", text, {"release": release, "pushed": new})


def decide(local_id: str | None, stored: Stored | None, tag: str, commit: str) -> Decision:
    """What to do with an image that should be in the registry as `tag`, built from `commit`."""
    if stored is None:
        if local_id is None:
            return Decision(REFUSED, "neither here nor in the registry: `build` comes first")
        return Decision(PUSH, "not in the registry yet")
    if local_id == stored.id:
        return Decision(ALREADY, "the very same image", stored.digest)
    says = (stored.labels.get(VERSION), stored.labels.get(REVISION))
    if local_id is None and says == (tag, commit):
        return Decision(ALREADY, "pushed by an earlier run of this build", stored.digest)
    why = f"the registry has another image with that tag:\n    there {stored.digest}, image"
    why += f" {stored.id}, of commit {says[1]}\n    here  {local_id or 'none'}, of commit {commit}"
    return Decision(REFUSED, why, stored.digest)


def differs(said: str | None, read: str | None) -> str | None:
    """Why a push that docker says went well is not to be believed; None when it is."""
    if read is None:
        return f"pushed as {said}, but the registry has no such tag"
    return f"docker pushed {said}, the registry has {read}" if said not in {None, read} else None


def fault(output: str) -> str:
    """What a failed `docker push` means: `taken` (the tag), `denied` (for good) or `again`."""
    text = output.lower()
    if "immutable" in text or "tag invalid" in text:
        return TAKEN
    if "token has expired" in text:  # ECR says "denied" of that too, and a new login helps
        return AGAIN
    hopeless = ("denied", "forbidden", "name unknown", "does not exist")
    return DENIED if any(words in text for words in hopeless) else AGAIN


def release_of(delivery: Delivery, facts: BuildFacts, images: Mapping[str, ImageRef]) -> Release:
    """The release of this build, with these images."""
    assert facts.build is not None  # `may_not_publish` saw to it
    return Release(
        run_id=facts.run_id,
        tag=build.tag(delivery.publishing.tag, facts),
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


def keeps_tag(mutability: str, exempt: Sequence[str], tag: str) -> bool:
    """Whether nobody can overwrite `tag` in such a repository; exempt: patterns of its tags."""
    is_exempt = any(fnmatchcase(tag, pattern) for pattern in exempt)
    return mutability.startswith("IMMUTABLE") != (
        mutability.endswith("_WITH_EXCLUSION") and is_exempt
    )


def refuse_mutable(registry: Registry, name: str, tag: str) -> None:
    """`Refused` unless the repository is there and nobody can overwrite `tag` in it."""
    mend = "aws ecr {} --repository-name " + name + " --image-tag-mutability IMMUTABLE"
    with registry.calling("ecr:DescribeRepositories", name):
        try:
            answer: Any = registry.client.describe_repositories(
                repositoryNames=[name], **registry.account
            )
        except registry.client.exceptions.RepositoryNotFoundException as exc:
            text = f"the registry has no repository {name}; make it once: "
            text += mend.format("create-repository")
            text += " --image-scanning-configuration scanOnPush=true"
            raise Refused(text, status="no_repository") from exc
    described = answer["repositories"][0]
    mutability = described.get("imageTagMutability", "MUTABLE")
    filters = described.get("imageTagMutabilityExclusionFilters") or ()
    if not keeps_tag(mutability, [entry["filter"] for entry in filters], tag):
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
        return decide(local["Id"] if local else None, stored, self.tag, self.facts.commit)

    def _stored(self, service: Service) -> str | None:
        return self.registry.find(self.delivery.registry.repository(service), self.tag)

    def _pulled(self, image: ImageRef, digest: str) -> Stored:
        name = f"{image.repository}@{digest}"
        docker = self.docker.logged_in(self.registry.login())
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
                    done = self.docker.logged_in(self.registry.login()).push(local, target)
                    if done.code == 0:
                        return self._read_back(service, pushed_digest(done.stdout))
                    said = done.last_lines(5) or f"exit code {done.code}"
                except OutsideFault as exc:
                    said = str(exc)
                meaning = fault(said)
                if meaning == TAKEN:  # somebody pushed that tag meanwhile
                    decision = self.look(service)
                    if decision.do == ALREADY and decision.digest:
                        return decision.digest
                    raise Refused(f"{service.code}: {decision.why}", status="other_image")
                if meaning == DENIED:
                    raise Refused(f"docker push {target}:\n{said}", status="push_denied")
                if left:
                    last = said.splitlines()[-1]
                    self.context.screen.line(f"  … {service.code}: {last}; once more")
                    time.sleep(PAUSE_S * (TRIES - left))
        raise OutsideFault(f"docker push {target}, tried {TRIES} times:\n{said}")

    def _read_back(self, service: Service, said: str | None) -> str:
        digest = self._stored(service)
        why = differs(said, digest)
        if why or digest is None:
            raise Refused(f"{service.code}:{self.tag}: {why}", status="digest_mismatch")
        return digest
