"""All that a git process of ours sees: nothing of the machine's or the person's configuration."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from ci.errors import Refused

PASSED_ON = (
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)
CONFIG = {
    "core.hooksPath": os.devnull,
    "core.autocrlf": "false",
    "http.followRedirects": "false",  # a password goes where it was meant to go, or nowhere
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "30",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
}
ALONE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",  # a key with a passphrase fails at once instead of asking
    "SSH_ASKPASS_REQUIRE": "force",
    "GIT_SSH_VARIANT": "ssh",
    "LC_ALL": "C",  # texts are matched
}
# A shell of git's own answers, so no file holds the password, nor a program that says it.
HELPER = "!cat >/dev/null; printf 'username=%s\\npassword=%s\\n'"
HELPER += ' "$CI_GIT_USER" "$CI_GIT_PASSWORD"; :'


def key_file(environ: Mapping[str, str], name: str) -> Path | None:
    """The file that the variable names; None where it is not set, `Refused` where there is none."""
    if not environ.get(name):
        return None
    path = Path(environ[name]).expanduser().absolute()
    if not path.is_file():
        raise Refused(f"{name}={path} is no file", status="credentials")
    return path


def isolated(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of every git call: no configuration but ours, and no secret."""
    config = {**CONFIG, "credential.helper": HELPER if environ.get("MANIFEST_REPO_PSW") else ""}
    if signing_key := key_file(environ, "COMMIT_SIGNING_KEY"):
        config |= {"gpg.format": "ssh", "user.signingKey": str(signing_key)}
    numbered = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    passed_on = {name: environ[name] for name in PASSED_ON if name in environ}
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return {**passed_on, **numbered, **ALONE, **own, "GIT_SSH_COMMAND": _ssh_command(environ)}


def credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """What only a call that speaks with the server gets beside that."""
    given: dict[str, str] = {}
    if password := environ.get("MANIFEST_REPO_PSW"):
        given = {"CI_GIT_USER": environ.get("MANIFEST_REPO_USR", ""), "CI_GIT_PASSWORD": password}
    if environ.get("SSH_AUTH_SOCK") and not environ.get("MANIFEST_REPO_SSH_KEY"):
        given["SSH_AUTH_SOCK"] = environ["SSH_AUTH_SOCK"]
    return given


def _ssh_command(environ: Mapping[str, str]) -> str:
    """How ssh is called: without the person's configuration; without a key file, by the agent."""
    key = key_file(environ, "MANIFEST_REPO_SSH_KEY")
    known_hosts = key_file(environ, "MANIFEST_REPO_KNOWN_HOSTS")
    known_hosts = known_hosts or Path(environ.get("HOME", "/")) / ".ssh" / "known_hosts"
    options = [
        *("BatchMode=yes", "StrictHostKeyChecking=yes"),
        f"UserKnownHostsFile={_quoted(known_hosts)}",
        f"GlobalKnownHostsFile={os.devnull}",
        *("ConnectTimeout=20", "ServerAliveInterval=10"),
    ]
    if key:
        options += ["IdentitiesOnly=yes", "IdentityAgent=none", f"IdentityFile={_quoted(key)}"]
    words = [word for option in options for word in ("-o", option)]
    return shlex.join(["ssh", "-F", os.devnull, *words])


def _quoted(path: Path) -> str:
    """The path as ssh reads it: `%` begins a token there, and Jenkins has `%2F` in workspaces."""
    return '"' + str(path).replace("%", "%%") + '"'
