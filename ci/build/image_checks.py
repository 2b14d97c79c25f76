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


def faults(inspected: Mapping[str, Any], port: int, labels: Mapping[str, str]) -> list[str]:
    """One line for each thing that is wrong; none when the image may be published.

    port: what it must expose, alone. labels: what it must say of itself.
    """
    config: Mapping[str, Any] = inspected.get("Config") or {}
    return [
        *_user(str(config.get("User") or "")),
        *_ports(config.get("ExposedPorts") or {}, port),
        *_entry(config),
        *_environment(config.get("Env") or ()),
        *_labels(config.get("Labels") or {}, labels),
        *([] if config.get("Healthcheck") else ["no HEALTHCHECK"]),
    ]


def _user(user: str) -> list[str]:
    name = user.partition(":")[0]
    if not name:
        return ["no USER, so it runs as root"]
    if not name.isdigit():
        return [f"USER {user} is a name: runAsNonRoot cannot know that it is not root"]
    return ["USER is 0, root"] if int(name) == 0 else []


def _ports(exposed: Mapping[str, Any], port: int) -> list[str]:
    if set(exposed) == {f"{port}/tcp"}:
        return []
    return [f"exposes {', '.join(sorted(exposed)) or 'nothing'}, not {port}/tcp alone"]


def _entry(config: Mapping[str, Any]) -> list[str]:
    """Exec form, so that signals arrive; a shell only where it ends with `exec`."""
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if not words:
        return ["neither ENTRYPOINT nor CMD"]
    is_shell = words[0].rpartition("/")[2] in SHELLS
    if is_shell and words[1:2] == ["-c"] and "exec " not in "".join(words[2:3]):
        return [f"starts through a shell that does not exec: {' '.join(words)}"]
    return []


def _environment(pairs: Any) -> list[str]:
    suspects = []
    for pair in pairs:
        name, _, value = pair.partition("=")
        named = bool(SECRET_NAME.search(name.upper())) and name not in PUBLIC and value
        if named or SECRET_VALUE.search(value):
            suspects.append(f"ENV {name} looks like a secret")
    return suspects


def _labels(there: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    titles = [f"label {name} is missing" for name in _TITLES if not there.get(name)]
    return titles + [
        f"label {name} is {there.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if there.get(name) != value
    ]


_TITLES = ("org.opencontainers.image.title", "org.opencontainers.image.description")
