"""`ci build`: looks first, then hadolint, image, checks, smoke run and SBOM, service by service.

An image whose tag the registry has already is not built again: tags never change, and another
build of the same commit has the same digest only on the same base images and engine; what has
another could never be pushed. Where nobody may ask the registry, as in a stage without
credentials, it is built.
"""

import shlex
import time
from collections.abc import Sequence

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
KILLED = "137"
LAST_LINES = 15


def main(
    context: Context, delivery: Delivery, services: Sequence[Service], *, cached: bool = True
) -> Outcome:
    """The images of `services` are there and proven; `already` when the registry has them all."""
    facts = build.gather(context)
    wanted = [image(delivery, service, facts) for service in services]
    published = _published(context, delivery, wanted, facts)
    to_do = [planned for planned in wanted if planned.service.code not in published]
    lines = [f"{code}: in the registry already, {digest}" for code, digest in published.items()]
    for planned in to_do:
        file = context.handed_on / "sbom" / f"{planned.service.code}.cdx.json"
        listing = sbom.argv(planned.name, planned.service.folder, planned.tag, file)
        if context.dry_run:
            argvs = (planned.argv(cached=cached), planned.smoke_argv(), listing)
            lines += [f"would run: {shlex.join(argv)}" for argv in argvs]
        else:
            began = time.monotonic()
            size_mb = _proven(context, planned, cached=cached)
            with context.screen.step(f"{planned.service.code}: SBOM"):
                packages = sbom.write(listing, file, context.environ)
            about = f"{size_mb:.0f} MB, {packages} packages, {time.monotonic() - began:.1f} s"
            lines.append(f"{planned.service.code}: {planned.name}, {about}")
    names = {planned.service.code: planned.name for planned in to_do}
    told = {"images": names, "already": published, "tag": wanted[0].tag}
    return Outcome("done" if to_do else "already", "\n".join(lines), told)


def image(delivery: Delivery, service: Service, facts: BuildFacts) -> ImageBuild:
    """What is built of the service: tagged as the build is, or as the commit where no build is."""
    tag = image_build.plain_tag(facts)
    if facts.build is not None:
        tag = build_facts.tag(delivery.tag, facts)
    name = f"{delivery.registry.repository(service)}:{tag}"
    return ImageBuild(service, name, tag, facts, PORT if service.package else UI_PORT)


def _published(
    context: Context, delivery: Delivery, wanted: Sequence[ImageBuild], facts: BuildFacts
) -> dict[str, str]:
    """Digests, by code, of what the registry has already; asked only where this build publishes."""
    expected = context.environ.get("GIT_COMMIT")
    if build_facts.may_not_publish(facts, delivery.branch, expected):
        return {}
    digests = {}
    try:
        registry = Registry(delivery.registry.address, context.environ)
        for planned in wanted:
            name = delivery.registry.repository(planned.service)
            if stored := registry.find(name, planned.tag):
                digests[planned.service.code] = stored.digest
    except Refused as why:  # the stage that builds has no credentials, and needs none
        if why.status not in {*CANNOT_ASK, "unconfigured"}:
            raise
        context.screen.line(f"  … not asked whether the registry has them already: {why}")
    return digests


def _proven(context: Context, planned: ImageBuild, *, cached: bool) -> float:
    """The image is built, obeys the rules and was started once; its size in MB."""
    code, docker = planned.service.code, Docker(context.root, context.environ)
    env = process.without_secrets(context.environ)
    with context.screen.step(f"{code}: Dockerfile"):
        dockerfile = str(context.root / planned.service.folder / "Dockerfile")
        done = process.run([tool("hadolint"), dockerfile], env=env, timeout_s=60)
        if done.code != 0:
            raise Defect(f"hadolint:\n{done.last_lines(40)}")
    context.screen.line(f"  … {code}: building {planned.name}")
    with context.screen.step(f"{code}: image {planned.name}"):
        docker.build(planned.argv(cached=cached))
    inspected = docker.inspect(planned.name)
    if inspected is None:
        raise OutsideFault(f"{planned.name}: built, but the engine does not have it")
    if faults := image_checks.faults(inspected, planned.port, planned.labels):
        raise Defect(f"{planned.name} may not be published:\n  " + "\n  ".join(faults))
    with context.screen.step(f"{code}: /health, on a read-only root, as nobody; SIGTERM"):
        _smoke(docker, planned)
    return float(inspected["Size"]) / 1e6


def _smoke(docker: Docker, planned: ImageBuild) -> None:
    """Started with the least there is, the image answers /health, is not root and ends in time."""
    container = docker.good(planned.smoke_argv()).split()[-1]
    try:
        address = docker.good(["docker", "port", container, f"{planned.port}/tcp"]).split()[0]
        _wait_healthy(docker, container, f"http://{address}/health")
        # the kernel says what the first process may do, not the image
        status = docker.good(["docker", "exec", container, "cat", "/proc/1/status"])
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        uids, capabilities = fields["Uid"].split(), fields["CapEff"].strip()
        if "0" in uids or int(capabilities, 16) != 0:
            raise Defect(f"it runs with uid {' '.join(uids)}, capabilities {capabilities}")
        docker.good(["docker", "stop", f"--time={STOP_S}", container])
        code = docker.good(["docker", "inspect", "--format={{.State.ExitCode}}", container])
        if code.strip() == KILLED:
            raise Defect(f"{planned.name} did not end within {STOP_S} s of SIGTERM")
    finally:
        docker.call(["docker", "rm", "--force", "--volumes", container])


def _wait_healthy(docker: Docker, container: str, url: str) -> None:
    deadline = time.monotonic() + HEALTH_S
    answer, running = "no answer", "true"
    while time.monotonic() < deadline and running == "true":
        try:
            status = httpx.get(url, timeout=5, trust_env=False).status_code
        except httpx.HTTPError as exc:
            answer = repr(exc)
        else:
            if status == httpx.codes.OK:
                return
            answer = f"HTTP {status}"
        inspect = ["docker", "inspect", "--format={{.State.Running}}", container]
        running = docker.good(inspect).strip()
        time.sleep(POLL_S)  # between polls, within the bound
    answer = answer if running == "true" else "it ended"
    logs = docker.call(["docker", "logs", "--tail", str(LAST_LINES), container]).text
    raise Defect(f"{url} did not become healthy within {HEALTH_S:g} s: {answer}\n{logs.strip()}")
