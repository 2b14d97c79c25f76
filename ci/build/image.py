"""How an image is built and tried out, and what must be true of it: command lines, rules. PURE.

All that goes into an image comes from the commit: its version is the tag, its date the commit's. So
a commit gives the same command line, and on the same base images the same image byte for byte.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.model import Service
from ci.plan.facts import BuildFacts

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


def faults(inspected: Mapping[str, Any], port: int, labels: Mapping[str, str]) -> list[str]:
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
