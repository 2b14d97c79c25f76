"""`ci build`: image, rules, smoke run and SBOM, service by service.

All that goes into an image comes from the commit: its version is the tag, its date the commit's. So
a commit gives the same command line, and on the same base images the same image byte for byte.
"""

import asyncio
import json
import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ci import config, process
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
LABEL = "org.opencontainers.image."
SMOKE = "nobody-believes-this-0000000000000000"
NOWHERE = "127.0.0.1:9"  # the discard port: connections are refused at once
# /health touches nothing, so no service needs a database to answer; it needs the variables that it
# refuses to start without. All addresses lead nowhere, all secrets are worthless.
SMOKE_ENVIRONMENT: Mapping[str, str] = {
    "DATABASE_URL": f"postgresql://smoke@{NOWHERE}/smoke",
    "OBJECT_STORE_URL": "file:///tmp/objects",
    "SERVICE_TOKEN": f"service-token-{SMOKE}",
    **{f"{name}_URL": f"http://{NOWHERE}" for name in ("UBS", "DAS", "DIS", "APS", "UI")},
}
OF_ITS_OWN: Mapping[str, Mapping[str, str]] = {
    "ubs": {"UBS_SECRET_KEY": f"secret-key-{SMOKE}"},
    "ui": {f"{name}_UPSTREAM": NOWHERE for name in ("UBS", "DAS", "DIS", "APS")},
}
TMPFS = "/tmp:size=256m,mode=1777"  # noqa: S108 (the container's own)
# the entry point of the nginx image renders its template into it
TMPFS_OF_ITS_OWN = {"ui": ("/etc/nginx/conf.d:size=1m,mode=0775,uid=101,gid=101",)}
SECRET_NAME = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PSW|SECRET|TOKEN|CREDENTIALS?|(API|ACCESS|PRIVATE|SECRET)_?KEY)(_|$)"
)
SECRET_VALUE = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/@\s:]+:[^/@\s]+@|gh[pousr]_[A-Za-z0-9]{36}"
)
PUBLIC = {"GPG_KEY"}  # of the Python base image: the fingerprint of a release manager's key
SHELLS = {"sh", "bash", "dash", "ash"}


@dataclass(frozen=True)
class ImageBuild:
    """One image to build. name: `repository:tag`, without a registry. port: what it listens on."""

    service: Service
    name: str
    tag: str
    facts: BuildFacts
    port: int

    @property
    def labels(self) -> dict[str, str]:
        """The OCI labels that the image must end up with, beside title and description."""
        return {f"{LABEL}{name.lower()}": value for name, value in self._arguments.items()}

    @property
    def _arguments(self) -> dict[str, str]:
        return {
            "VERSION": self.tag,
            "REVISION": self.facts.commit,
            # when the commit was made: the clock of the building machine is in no image
            "CREATED": self.facts.committed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "SOURCE": self.facts.source_repo or "unknown",
        }

    def argv(self) -> list[str]:
        """The command line of docker, from the repository's root."""
        arguments = self._arguments
        if not self.facts.dirty:  # else two pages of one date: browsers would keep the first
            arguments["SOURCE_DATE_EPOCH"] = str(int(self.facts.committed_at.timestamp()))
        given = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
        # provenance would wrap the image in an index, and findings stand at another digest
        options = ["--provenance=false", "--progress=plain", *given]
        return ["docker", "build", *options, "--tag", self.name, self.service.folder]

    def smoke_argv(self) -> list[str]:
        """The command line that starts the image as the cluster would: as little as can be."""
        code = self.service.code
        environment = {**SMOKE_ENVIRONMENT, **OF_ITS_OWN.get(code, {})}
        return [
            *("docker", "run", "--detach", "--pull=never", "--read-only", "--cap-drop=ALL"),
            "--security-opt=no-new-privileges",
            *(f"--tmpfs={mount}" for mount in (TMPFS, *TMPFS_OF_ITS_OWN.get(code, ()))),
            *(f"--env={name}={value}" for name, value in environment.items()),
            f"--publish=127.0.0.1::{self.port}",
            self.name,
        ]


def plain_tag(facts: BuildFacts) -> str:
    """The tag of images that nobody publishes: the commit, and whether files differ from it."""
    return f"local-{facts.commit[:8]}" + ("-dirty" if facts.dirty else "")


def rule_faults(inspected: Mapping[str, Any], port: int, labels: Mapping[str, str]) -> list[str]:
    """One line for each thing that is wrong in `docker image inspect`; none when all is well.

    port: what it must expose, alone. labels: what it must say of itself.
    """
    config: Mapping[str, Any] = inspected.get("Config") or {}
    user = str(config.get("User") or "").partition(":")[0]
    exposed = ", ".join(sorted(config.get("ExposedPorts") or ["nothing"]))
    start = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    there = config.get("Labels") or {}
    by_shell = bool(start) and start[0].rpartition("/")[2] in SHELLS and start[1:2] == ["-c"]
    hides_signals = by_shell and "exec " not in "".join(start[2:3])
    named = f"USER {user} is a name: runAsNonRoot cannot know that it is not root"
    rules: list[tuple[object, str]] = [
        (not user, "no USER, so it runs as root"),
        (user.isdigit() and not int(user), "USER is 0, root"),
        (user and not user.isdigit(), named),
        (exposed != f"{port}/tcp", f"exposes {exposed}, not {port}/tcp alone"),
        (not start, "neither ENTRYPOINT nor CMD"),
        (hides_signals, f"starts through a shell that does not exec: {' '.join(start)}"),
        (not config.get("Healthcheck"), "no HEALTHCHECK"),
    ]
    names = (f"{LABEL}title", f"{LABEL}description")
    rules += [(not there.get(name), f"label {name} is missing") for name in names]
    for name, value in labels.items():
        text = f"label {name} is {there.get(name)!r}, not {value!r}"
        rules.append((there.get(name) != value, text))
    for name, _, value in (pair.partition("=") for pair in config.get("Env") or ()):
        is_named = value and name not in PUBLIC and SECRET_NAME.search(name.upper())
        is_secret = is_named or SECRET_VALUE.search(value)
        rules.append((is_secret, f"ENV {name} looks like a secret"))
    return [text for is_broken, text in rules if is_broken]


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
    tag = plain_tag(facts)
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
    if broken := rule_faults(inspected, planned.port, planned.labels):
        raise Defect(f"{planned.name} may not be published:\n  " + "\n  ".join(broken))
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
