"""`ci build`: image, checks, smoke run and SBOM, service by service."""

import asyncio
import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ci import config, process
from ci.build import image as images
from ci.build.image import ImageBuild
from ci.config import Delivery
from ci.context import Context
from ci.errors import Defect, OutsideFault
from ci.model import Service
from ci.native import net
from ci.outcome import Outcome
from ci.plan import facts as build_facts
from ci.plan import planning
from ci.plan.facts import BuildFacts
from ci.plan.planning import PLAN_OPTION
from ci.tools.docker import Docker

HEALTH_S, STOP_S, POLL_S, SBOM_S = 60.0, 10, 0.1, 300.0
PORT, UI_PORT = 8000, 8080
KILLED = "137"
# syft takes the launchers that pip carries for Windows for .NET packages
LEFT_OUT = "-dotnet-portable-executable-cataloger"


@click.command()
@click.argument("service", nargs=-1)
@PLAN_OPTION
def build(context: Context, service: Sequence[str], plan: Path | None) -> Outcome:
    """Builds images with Docker and proves them: labels, user, port, smoke run, SBOM.

    Tagged as ci/ci.toml says when a build server gives a number, else `local-<commit>`. The smoke
    run has a read-only root, no capability and no network peer: /health must answer, SIGTERM must
    end it. The SBOM (CycloneDX) goes to .cache/ci/sbom/<code>.cdx.json.

    SERVICE: folders or codes (all; with --plan: its own)
    """
    services, why_not = planning.chosen(context, service, plan)
    if not services:
        return Outcome("nothing", why_not, {"images": {}})
    return main(context, config.load(context.catalogue, context.environ), services)


def main(context: Context, delivery: Delivery, services: Sequence[Service]) -> Outcome:
    """The images of `services` are there and proven."""
    facts, lines = build_facts.gather(context), []
    planned = {service.code: image(delivery, service, facts) for service in services}
    for code, one in planned.items():
        file = context.handed_on / "sbom" / f"{code}.cdx.json"
        listing = _sbom_argv(one, file)
        if context.dry_run:
            argvs = (one.argv(), one.smoke_argv(), listing)
            lines += [f"would run: {shlex.join(argv)}" for argv in argvs]
            continue
        began = time.monotonic()
        size_mb = _proven(context, one)
        with context.screen.step(f"{code}: SBOM"):
            packages = write_sbom(listing, file, context.environ)
        about = f"{size_mb:.0f} MB, {packages} packages, {time.monotonic() - began:.1f} s"
        lines.append(f"{code}: {one.name}, {about}")
    names, tag = {code: one.name for code, one in planned.items()}, one.tag
    return Outcome("done", "\n".join(lines), {"images": names, "tag": tag})


def image(delivery: Delivery, service: Service, facts: BuildFacts) -> ImageBuild:
    """What is built of the service: tagged as the build is, or as the commit where no build is."""
    tag = images.plain_tag(facts)
    if facts.build is not None:
        tag = build_facts.tag(delivery.publishing.tag, facts)
    name = f"{delivery.registry.repository(service)}:{tag}"
    return ImageBuild(service, name, tag, facts, PORT if service.package else UI_PORT)


def _proven(context: Context, planned: ImageBuild) -> float:
    """The image is built, obeys the rules and was started once; its size in MB."""
    code, docker = planned.service.code, Docker(context.root, context.environ)
    with context.screen.step(f"{code}: image {planned.name}"):
        docker.build(planned.argv())
    inspected = docker.inspect(planned.name)
    if inspected is None:
        raise OutsideFault(f"{planned.name}: built, but the engine does not have it")
    if faults := images.faults(inspected, planned.port, planned.labels):
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
    while why := asyncio.run(net.not_ready(url)):
        inspect = ["docker", "inspect", "--format={{.State.Running}}", container]
        if docker.good(inspect).strip() != "true":
            why = "it ended"
        elif time.monotonic() < deadline:
            time.sleep(POLL_S)
            continue
        logs = docker.call(["docker", "logs", "--tail=15", container]).text
        raise Defect(f"{url} did not become healthy in {HEALTH_S:g} s: {why}\n{logs.strip()}")


def _sbom_argv(planned: ImageBuild, file: Path) -> list[str]:
    """The command line of syft for an image that the engine holds: CycloneDX JSON, offline."""
    beside = shutil.which("syft", path=str(Path(sys.executable).parent))
    return [
        *(beside or "syft", "scan", f"docker:{planned.name}", "--quiet"),
        *("--source-name", planned.service.folder, "--source-version", planned.tag),
        *("--select-catalogers", LEFT_OUT, "--output", f"cyclonedx-json={file}"),
    ]


def write_sbom(argv: Sequence[str], file: Path, environ: Mapping[str, str]) -> int:
    """The SBOM that `argv` makes is in `file`; how many packages it lists. `Defect` when none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    quiet = {**process.without_secrets(environ), "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    process.run(argv, env=quiet, timeout_s=SBOM_S).good(f"syft makes no {file.name}")
    components = json.loads(file.read_text(encoding="utf-8")).get("components", [])
    packages = sum(1 for component in components if component.get("type") == "library")
    if not packages:
        raise Defect(f"{file.name}: syft found no package in the image")
    return packages
