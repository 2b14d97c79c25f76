"""All that a git process of ours sees: nothing of the machine's or the person's configuration.

Credentials are apart, for the calls that speak with the server; a GIT_ASKPASS script that holds
none brings them there.
"""

import errno
import os
import shlex
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci import process
from ci.errors import OutsideFault, Refused
from ci.tools.source_repo import LOCAL_S

PASSED_ON = (
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)
CONFIG = {
    "protocol.allow": "never",
    "protocol.file.allow": "always",
    "protocol.https.allow": "always",
    "protocol.ssh.allow": "always",
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "credential.helper": "",
    "http.followRedirects": "false",  # a password goes where it was meant to go, or nowhere
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "30",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "advice.detachedHead": "false",
}
ALONE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",  # a key with a passphrase fails at once instead of asking
    "SSH_ASKPASS_REQUIRE": "force",
    "GIT_SSH_VARIANT": "ssh",
    "LC_ALL": "C",  # texts are matched
}
ASKPASS = """\
#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "$CI_GIT_USER" ;;
*) printf '%s\\n' "$CI_GIT_PASSWORD" ;;
esac
"""
EXPECTED_HEAD = "CI_EXPECTED_HEAD"
# What git runs once the server has told its branch and before a commit is sent; the server then
# takes the commit only while its branch is still what it told. `git.was_race` knows its text.
PRE_PUSH = """\
#!/bin/sh
while read -r _ _ _ head; do
  [ "$head" = "$CI_EXPECTED_HEAD" ] && continue
  echo "! stale info: the branch moved before the push" >&2
  exit 1
done
"""
RUNS_TRIED = 100


@dataclass(frozen=True)
class Account:
    """As whom git speaks with the server, and with which key commits are signed."""

    user: str = ""
    password: str = field(default="", repr=False)
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    agent: str | None = None
    signing_key: Path | None = None
    plain_http: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Account":
        """The account that the environment describes; a key file that is not there is refused."""

        def file(name: str) -> Path | None:
            if not environ.get(name):
                return None
            path = Path(environ[name]).expanduser().absolute()
            if not path.is_file():
                raise Refused(f"{name}={path} is no file", status="credentials")
            return path

        return cls(
            user=environ.get("MANIFEST_REPO_USR", ""),
            password=environ.get("MANIFEST_REPO_PSW", ""),
            ssh_key=file("MANIFEST_REPO_SSH_KEY"),
            known_hosts=file("MANIFEST_REPO_KNOWN_HOSTS"),
            agent=environ.get("SSH_AUTH_SOCK") or None,
            signing_key=file("COMMIT_SIGNING_KEY"),
            plain_http=environ.get("MANIFEST_REPO_PLAIN_HTTP", "").lower() in {"1", "true", "yes"},
        )


def isolated(environ: Mapping[str, str], home: Path, account: Account, url: str) -> dict[str, str]:
    """The environment of every git call: no configuration but ours, and no secret."""
    config = dict(CONFIG)
    if url.startswith("http://"):
        config["protocol.http.allow"] = "always"
    if account.signing_key:
        config |= {"gpg.format": "ssh", "user.signingKey": str(account.signing_key)}
    numbered = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {
        **{name: environ[name] for name in PASSED_ON if name in environ},
        **numbered,
        **ALONE,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_SSH_COMMAND": _ssh_command(environ, account),
    }


def credentials(home: Path, account: Account) -> dict[str, str]:
    """What only a call that speaks with the server gets beside that."""
    given: dict[str, str] = {}
    if account.password:
        given |= {
            "GIT_ASKPASS": str(_script(home / "askpass", ASKPASS)),
            "CI_GIT_USER": account.user,
            "CI_GIT_PASSWORD": account.password,
        }
    if account.agent and not account.ssh_key:
        given["SSH_AUTH_SOCK"] = account.agent
    return given


def hooks(home: Path) -> Path:
    """The folder of the one hook that there is; `Refused` where no program runs in `home`."""
    folder = home / "hooks"
    folder.mkdir(exist_ok=True)
    _script(folder / "pre-push", PRE_PUSH)
    return folder


def _script(path: Path, text: str) -> Path:
    path.write_text(text, encoding="ascii")
    path.chmod(0o700)
    for _ in range(RUNS_TRIED):
        try:
            if process.run([path], env={}, timeout_s=LOCAL_S).code == 0:
                return path
            break
        except OutsideFault as fault:
            cause = fault.__cause__
            if not isinstance(cause, OSError) or cause.errno != errno.ETXTBSY:
                break
        # a program that another thread started meanwhile has the file open until it has begun
        time.sleep(0.02)
    raise Refused(
        f"no program can run in {tempfile.gettempdir()} (noexec?), and git needs one for the"
        " credentials and one before a push; set TMPDIR to a folder where they can",
        status="noexec",
    )


def _ssh_command(environ: Mapping[str, str], account: Account) -> str:
    """How ssh is called: without the person's configuration; without a key file, by the agent."""
    known_hosts = account.known_hosts or Path(environ.get("HOME", "/")) / ".ssh" / "known_hosts"
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f'UserKnownHostsFile="{_plain_path(known_hosts)}"',
        f"GlobalKnownHostsFile={os.devnull}",
        "ConnectTimeout=20",
        "ServerAliveInterval=10",
    ]
    if account.ssh_key:
        options += ["IdentitiesOnly=yes", "IdentityAgent=none"]
        options.append(f'IdentityFile="{_plain_path(account.ssh_key)}"')
    words = [word for option in options for word in ("-o", option)]
    return shlex.join(["ssh", "-F", os.devnull, *words])


def _plain_path(path: Path) -> str:
    """The path as ssh reads it: `%` begins a token there, and Jenkins has `%2F` in workspaces."""
    return str(path).replace("%", "%%")
