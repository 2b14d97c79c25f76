"""`ci push`: looks first, pushes second, reads the digest back third; whole or not handed on.

    guard ─▶ repositories ─▶ for each image: look ─▶ push ─▶ read back ─▶ all there: release record
                                                                          ─▶ .cache/ci/release.json
A run that dies on the way leaves images and no record. The next one finds them by their tags, goes
on with the rest and writes the one record, so every step can be repeated.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from ci.build.building import image
from ci.config import Delivery
from ci.context import Context
from ci.errors import Defect, OutsideFault, Refused
from ci.model import ImageRef, Release, Service
from ci.outcome import Outcome
from ci.plan import build_facts
from ci.plan import facts as build
from ci.plan.build_facts import BuildFacts
from ci.push import publication, repositories
from ci.push.publication import Decision, Stored
from ci.push.repositories import Ensured
from ci.tools.docker import Docker, pushed_digest
from ci.tools.ecr import Registry
from ci.tools.oci import Distribution, Releases

TRIES, PAUSE_S = 3, 1.0


def main(
    context: Context, delivery: Delivery, services: Sequence[Service], *, fix: bool
) -> Outcome:
    """The images of `services` and their release record are in the registry."""
    facts = build.publishing(context, delivery)
    run = _Run(context, delivery, facts, services)
    notes = run.prepare(fix=fix)
    decisions = run.look()
    refused = {
        code: decision for code, decision in decisions.items() if decision.do == publication.REFUSED
    }
    if refused:
        lines = [f"{code}: {decision.why}" for code, decision in refused.items()]
        missing = all(decision.digest is None for decision in refused.values())
        raise Refused(
            f"nothing is handed on, tag {run.tag}:\n  " + "\n  ".join(lines),
            status="not_built" if missing else "other_image",
            images={code: {"stored": decision.digest} for code, decision in refused.items()},
        )
    if context.dry_run:
        lines = [f"{code}: would {_would(decision)}" for code, decision in decisions.items()]
        lines.append(f"would write the release record {delivery.registry.releases}:{run.tag}")
        return Outcome("done", "\n".join([*notes, *lines]), {"tag": run.tag})
    release = run.release(decisions)
    run.record(release)
    file = context.handed_on / "release.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(release.to_json(), indent=2), encoding="utf-8")
    pushed = sorted(code for code, decision in decisions.items() if decision.do == publication.PUSH)
    lines = [f"{code}: {ref}" for code, ref in release.images.items()]
    return Outcome(
        "pushed" if pushed else "already",
        "\n".join([*notes, *lines, f"release {release.tag} is recorded, whole"]),
        {"release": release.to_json(), "pushed": pushed},
    )


def read_release(file: Path) -> Release:
    """The release that `push` handed on."""
    try:
        return Release.from_json(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        text = f"{file} is not there; `python -m ci push` leaves it once a release is whole"
        raise Refused(text, status="no_release") from exc
    except (ValueError, KeyError, TypeError, OSError) as exc:
        raise Defect(f"{file} is not a release: {exc!r}") from exc


class _Run:
    """One push of one set."""

    def __init__(
        self, context: Context, delivery: Delivery, facts: BuildFacts, services: Sequence[Service]
    ) -> None:
        self._context, self._delivery, self._facts = context, delivery, facts
        self._services = services
        self._registry = Registry(delivery.registry.address, context.environ)
        self._docker = Docker(context.root, context.environ)
        self.tag = build_facts.tag(delivery.tag, facts)

    def prepare(self, *, fix: bool) -> list[str]:
        """All repositories are there and keep their tags; what there is to say about them."""
        config = self._delivery.registry
        names = [*(config.repository(service) for service in self._services), config.releases]
        dry_run = self._context.dry_run
        ensured = [
            repositories.ensure(
                self._registry, name, config.untagged_days, self.tag, fix=fix, dry_run=dry_run
            )
            for name in names
        ]
        return [note for repository in ensured if (note := _note(repository, dry_run=dry_run))]

    def look(self) -> dict[str, Decision]:
        """What to do with each image, by code."""
        api = Distribution(self._registry.login())
        try:
            return {
                service.code: publication.decide(
                    self._local(service), self._stored(api, service), self.tag, self._facts.commit
                )
                for service in self._services
            }
        finally:
            api.close()

    def release(self, decisions: dict[str, Decision]) -> Release:
        """All images are in the registry: the set, each pinned to the registry's own digest."""
        images = {}
        for service in self._services:
            decision = decisions[service.code]
            digest = decision.digest
            if decision.do == publication.PUSH:
                with self._context.screen.step(f"{service.code}: push {self.tag}"):
                    digest = self._push(service)
            assert digest is not None
            images[service.code] = self._ref(service, digest)
        facts = self._facts
        assert facts.build is not None  # `may_not_publish` saw to it
        return Release(
            run_id=facts.run_id,
            tag=self.tag,
            build=facts.build,
            build_url=facts.build_url,
            source_commit=facts.commit,
            source_repo=facts.source_repo,
            committed_at=facts.committed_at,
            images=images,
        )

    def record(self, release: Release) -> None:
        """The release record is in the registry."""
        assert publication.is_whole(release, {service.code for service in self._services})
        with self._context.screen.step(f"release record {release.tag}"):
            Releases(self._registry, self._delivery.registry.releases).write_release(release)

    def _push(self, service: Service) -> str:
        """The image is in the registry; its digest, from there.

        What breaks is tried again, each time with a login of its own, for the fault may have been
        the login's end. Before it is, the registry is asked: a push may have got through.
        """
        local = image(self._delivery, service, self._facts).name
        target = str(self._ref(service, None))
        for left in reversed(range(TRIES)):
            try:
                with self._docker.logged_in(self._registry.login()) as docker:
                    done = docker.push(local, target)
                fault = "" if done.code == 0 else done.last_lines(5)
            except OutsideFault as exc:
                if left == 0:
                    raise
                fault, done = str(exc), None
            if done is not None and done.code == 0:
                return self._read_back(service, pushed_digest(done.stdout))
            meaning = publication.fault(fault)
            if meaning == publication.TAKEN:
                return self._taken(service)
            if meaning == publication.DENIED:
                raise Refused(f"docker push {target}:\n{fault}", status="push_denied")
            if left == 0:
                raise OutsideFault(f"docker push {target}, tried {TRIES} times:\n{fault}")
            self._context.screen.line(f"  … {service.code}: {fault.splitlines()[-1]}; once more")
            time.sleep(PAUSE_S * (TRIES - left))
        raise AssertionError("the last try returns or raises")

    def _taken(self, service: Service) -> str:
        """Somebody pushed that tag meanwhile: the same image is fine, another is not."""
        decision = self.look()[service.code]
        if decision.do != publication.ALREADY or decision.digest is None:
            raise Refused(f"{service.code}: {decision.why}", status="other_image")
        return decision.digest

    def _read_back(self, service: Service, said: str | None) -> str:
        stored = self._registry.find(self._delivery.registry.repository(service), self.tag)
        if why := publication.differs(said, stored.digest if stored else None):
            raise Refused(f"{service.code}:{self.tag}: {why}", status="digest_mismatch")
        assert stored is not None
        return stored.digest

    def _local(self, service: Service) -> str | None:
        inspected = self._docker.inspect(image(self._delivery, service, self._facts).name)
        return inspected["Id"] if inspected else None

    def _stored(self, api: Distribution, service: Service) -> Stored | None:
        name = self._delivery.registry.repository(service)
        stored = self._registry.find(name, self.tag)
        if stored is None:
            return None
        manifest = api.manifest(name, stored.digest)
        if manifest is None:
            raise OutsideFault(f"{name}: the registry lists {stored.digest}, but does not have it")
        config = manifest[1].get("config", {}).get("digest")
        if config is None:  # an index: not of ours
            return Stored(stored.digest, "none, it is an index", {})
        labels = api.config(name, manifest[1]).get("config", {}).get("Labels") or {}
        return Stored(stored.digest, config, labels)

    def _ref(self, service: Service, digest: str | None) -> ImageRef:
        return self._delivery.registry.image(service, self.tag, digest)


def _would(decision: Decision) -> str:
    if decision.do == publication.ALREADY:
        return f"leave it, {decision.why} ({decision.digest})"
    return f"push it, {decision.why}"


def _note(ensured: Ensured, *, dry_run: bool) -> str | None:
    """What there is to say about a repository; None when all is well."""
    drift = ", ".join(ensured.drift)
    if ensured.did:
        done = f"would be {ensured.did}" if dry_run else ensured.did
        return f"repository {ensured.name}: {done}{f' ({drift})' if drift else ''}"
    return f"repository {ensured.name}: {drift}; `push --fix` mends it" if drift else None
