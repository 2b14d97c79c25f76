"""What must be true of every image, read from `docker image inspect`: PURE."""

import re
from collections.abc import Mapping
from typing import Any

SECRET_NAME = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PSW|SECRET|TOKEN|CREDENTIALS?|(API|ACCESS|PRIVATE|SECRET)_?KEY)(_|$)"
)
SECRET_VALUE = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/@\s:]+:[^/@\s]+@|gh[pousr]_[A-Za-z0-9]{36}"
)
PUBLIC = {"GPG_KEY"}  # of the Python base image: the fingerprint of a release manager's key
SHELLS = {"sh", "bash", "dash", "ash"}
TITLES = ("org.opencontainers.image.title", "org.opencontainers.image.description")


def faults(inspected: Mapping[str, Any], port: int, labels: Mapping[str, str]) -> list[str]:
    """One line for each thing that is wrong; none when the image may be published.

    port: what it must expose, alone. labels: what it must say of itself.
    """
    config: Mapping[str, Any] = inspected.get("Config") or {}
    user = str(config.get("User") or "").partition(":")[0]
    exposed = ", ".join(sorted(config.get("ExposedPorts") or ["nothing"]))
    start = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    there = config.get("Labels") or {}
    rules = [
        (not user, "no USER, so it runs as root"),
        (user.isdigit() and not int(user), "USER is 0, root"),
        (
            user and not user.isdigit(),
            f"USER {user} is a name: runAsNonRoot cannot know that it is not root",
        ),
        (exposed != f"{port}/tcp", f"exposes {exposed}, not {port}/tcp alone"),
        (not start, "neither ENTRYPOINT nor CMD"),
        (
            _hides_signals(start),
            f"starts through a shell that does not exec: {' '.join(start)}",
        ),
        (not config.get("Healthcheck"), "no HEALTHCHECK"),
        *((not there.get(name), f"label {name} is missing") for name in TITLES),
        *(
            (there.get(name) != value, f"label {name} is {there.get(name)!r}, not {value!r}")
            for name, value in labels.items()
        ),
        *(
            (_is_secret(name, value), f"ENV {name} looks like a secret")
            for name, _, value in (pair.partition("=") for pair in config.get("Env") or ())
        ),
    ]
    return [text for is_broken, text in rules if is_broken]


def _hides_signals(start: list[str]) -> bool:
    """Whether a shell stays between the engine and the program: one that does not `exec`."""
    is_shell = start[:1] != [] and start[0].rpartition("/")[2] in SHELLS
    return is_shell and start[1:2] == ["-c"] and "exec " not in "".join(start[2:3])


def _is_secret(name: str, value: str) -> bool:
    is_named = bool(value and name not in PUBLIC and SECRET_NAME.search(name.upper()))
    return is_named or SECRET_VALUE.search(value) is not None
