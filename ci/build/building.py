"""`ci build`: looks first, then hadolint, image, checks, smoke run and SBOM, service by service.

An image whose tag the registry has already is not built again: tags never change, and another
build of the same commit has the same digest only on the same base images and engine; what has
another could never be pushed. Where nobody may ask the registry, as in a stage without
credentials, it is built.
"""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from ci import process
from ci.build import image_build, image_checks
from ci.build.image_build import ImageBuild
from ci.bump.means import CANNOT_ASK
from ci.config import Delivery
from ci.context import Context
from ci.errors import Defect, OutsideFault, Refused
from ci.lint.checks import tool
from ci.model import Service
from ci.outcome import Outcome
from ci.plan import build_facts
from ci.plan import facts as build
from ci.plan.build_facts import BuildFacts
from ci.tools import sbom
from ci.tools.docker import Docker
from ci.tools.ecr import Registry

HEALTH_S, STOP_S, POLL_S = 60.0, 10, 0.1
PORT, UI_PORT = 8000, 8080
KILLED = 137
LAST_LINES = 15


def main(
    context: Context, delivery: Delivery, services: Sequence[Service], *, cached: bool = True
) -> Outcome:
    """The images of `services` are there and proven; `already` when the registry has them all."""
    if not services:
        return Outcome("nothing", "no image to build", {"images": {}})
    facts = build.gather(context)
    wanted = [image(delivery, service, facts) for service in services]
    published = _published(context, delivery, wanted, facts)
    to_do = [planned for planned in wanted if planned.service.code not in published]
    lines = [f"{code}: in the registry already, {digest}" for code, digest in published.items()]
    if context.dry_run:
        for planned in to_do:
            file = sbom_file(context, planned.service)
            commands = [
                planned.argv(cached=cached),
                planned.smoke_argv(),
                _sbom_argv(planned, file),
            ]
            lines += [f"would run: {shlex.join(argv)}" for argv in commands]
    else:
        lines += [one(context, planned, cached=cached) for planned in to_do]
    facts_json = {
        "images": {planned.service.code: planned.name for planned in to_do},
        "already": published,
        "tag": wanted[0].tag,
    }
    return Outcome("done" if to_do else "already", "\n".join(lines), facts_json)


def image(delivery: Delivery, service: Service, facts: BuildFacts) -> ImageBuild:
    """What is built of the service: tagged as the build is, or as the commit where no build is."""
    tag = image_build.plain_tag(facts)
    if facts.build is not None:
        tag = build_facts.tag(delivery.tag, facts)
    name = f"{delivery.registry.repository(service)}:{tag}"
    port = PORT if service.package else UI_PORT
    return ImageBuild(service, name, tag, facts, port)


def sbom_file(context: Context, service: Service) -> Path:
    """Where the SBOM of the service's image is handed on."""
    return context.handed_on / "sbom" / f"{service.code}.cdx.json"


def one(context: Context, wanted: ImageBuild, *, cached: bool = True) -> str:
    """The image is built, checked, tried out and listed; a line about it."""
    code, docker = wanted.service.code, Docker(context.root, context.environ)
    began = time.monotonic()
    with context.screen.step(f"{code}: Dockerfile"):
        _lint(context, wanted.service)
    context.screen.line(f"  … {code}: building {wanted.name}")
    with context.screen.step(f"{code}: image {wanted.name}"):
        docker.build(wanted.argv(cached=cached))
    inspected = docker.inspect(wanted.name)
    if inspected is None:
        raise OutsideFault(f"{wanted.name}: built, but the engine does not have it")
    if faults := image_checks.faults(inspected, wanted.port, wanted.labels):
        raise Defect(f"{wanted.name} may not be published:\n  " + "\n  ".join(faults))
    with context.screen.step(f"{code}: /health, on a read-only root, as nobody; SIGTERM"):
        smoke(docker, wanted)
    file = sbom_file(context, wanted.service)
    with context.screen.step(f"{code}: SBOM"):
        folder = wanted.service.folder
        packages = sbom.write(wanted.name, folder, wanted.tag, file, context.environ)
    size_mb = inspected["Size"] / 1e6
    took_s = time.monotonic() - began
    return f"{code}: {wanted.name}, {size_mb:.0f} MB, {packages} packages, {took_s:.1f} s"


def smoke(docker: Docker, wanted: ImageBuild) -> None:
    """Started with the least there is, the image answers /health, is not root and ends in time."""
    container = docker.good(wanted.smoke_argv()).split()[-1]
    try:
        address = docker.good(["docker", "port", container, f"{wanted.port}/tcp"]).split()[0]
        _healthy(docker, container, f"http://{address}/health")
        _unprivileged(docker, container)
        docker.good(["docker", "stop", f"--time={STOP_S}", container])
        state = docker.good(["docker", "inspect", "--format={{.State.ExitCode}}", container])
        if int(state) == KILLED:
            raise Defect(f"{wanted.name} did not end within {STOP_S} s of SIGTERM")
    finally:
        docker.call(["docker", "rm", "--force", "--volumes", container])


def _healthy(docker: Docker, container: str, url: str) -> None:
    deadline = time.monotonic() + HEALTH_S
    answer = "no answer"
    while time.monotonic() < deadline:
        try:
            status = httpx.get(url, timeout=5, trust_env=False).status_code
        except httpx.HTTPError as exc:
            answer = repr(exc)
        else:
            if status == httpx.codes.OK:
                return
            answer = f"HTTP {status}"
        running = docker.good(["docker", "inspect", "--format={{.State.Running}}", container])
        if running.strip() != "true":
            answer = "it ended"
            break
        time.sleep(POLL_S)  # between polls, within the bound
    logs = docker.call(["docker", "logs", "--tail", str(LAST_LINES), container]).text
    raise Defect(f"{url} did not become healthy within {HEALTH_S:g} s: {answer}\n{logs.strip()}")


def _unprivileged(docker: Docker, container: str) -> None:
    """The first process has no uid 0 and no capability; the kernel says so, not the image."""
    status = docker.good(["docker", "exec", container, "cat", "/proc/1/status"])
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "0" in fields["Uid"].split() or int(fields["CapEff"], 16) != 0:
        raise Defect(f"it runs with uid {fields['Uid'].strip()}, capabilities {fields['CapEff']}")


def _lint(context: Context, service: Service) -> None:
    dockerfile = context.root / service.folder / "Dockerfile"
    env = process.without_secrets(context.environ)
    done = process.run([tool("hadolint"), dockerfile], cwd=context.root, env=env, timeout_s=60)
    if done.code != 0:
        raise Defect(f"hadolint:\n{done.last_lines(40)}")


def _published(
    context: Context, delivery: Delivery, wanted: Sequence[ImageBuild], facts: BuildFacts
) -> dict[str, str]:
    """Digests, by code, of what the registry has already; asked only where this build publishes."""
    expected = context.environ.get("GIT_COMMIT")
    if not delivery.registry.address or build_facts.may_not_publish(
        facts, delivery.branch, expected
    ):
        return {}
    registry = Registry(delivery.registry.address, context.environ)
    try:
        stored = {
            planned.service.code: registry.find(
                delivery.registry.repository(planned.service), planned.tag
            )
            for planned in wanted
        }
    except Refused as why:  # the stage that builds has no credentials, and needs none
        if why.status not in CANNOT_ASK:
            raise
        context.screen.line(f"  … not asked whether the registry has them already: {why}")
        return {}
    return {code: image.digest for code, image in stored.items() if image}


def _sbom_argv(planned: ImageBuild, file: Path) -> list[str]:
    return sbom.argv(planned.name, planned.service.folder, planned.tag, file)
