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


def key_file(environ: Mapping[str, str], name: str) -> Path | None:
    """The file that the variable names; None where it is not set, `Refused` where there is none."""
    if not environ.get(name):
        return None
    path = Path(environ[name]).expanduser().absolute()
    if not path.is_file():
        raise Refused(f"{name}={path} is no file", status="credentials")
    return path


def isolated(environ: Mapping[str, str], home: Path, url: str) -> dict[str, str]:
    """The environment of every git call: no configuration but ours, and no secret."""
    config = dict(CONFIG)
    if url.startswith("http://"):
        config["protocol.http.allow"] = "always"
    if signing_key := key_file(environ, "COMMIT_SIGNING_KEY"):
        config |= {"gpg.format": "ssh", "user.signingKey": str(signing_key)}
    numbered = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    passed_on = {name: environ[name] for name in PASSED_ON if name in environ}
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return {**passed_on, **numbered, **ALONE, **own, "GIT_SSH_COMMAND": _ssh_command(environ)}


def credentials(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """What only a call that speaks with the server gets beside that."""
    given: dict[str, str] = {}
    if password := environ.get("MANIFEST_REPO_PSW"):
        given["GIT_ASKPASS"] = str(_script(home / "askpass", ASKPASS))
        given |= {"CI_GIT_USER": environ.get("MANIFEST_REPO_USR", ""), "CI_GIT_PASSWORD": password}
    if environ.get("SSH_AUTH_SOCK") and not environ.get("MANIFEST_REPO_SSH_KEY"):
        given["SSH_AUTH_SOCK"] = environ["SSH_AUTH_SOCK"]
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


def _ssh_command(environ: Mapping[str, str]) -> str:
    """How ssh is called: without the person's configuration; without a key file, by the agent."""
    key = key_file(environ, "MANIFEST_REPO_SSH_KEY")
    known_hosts = key_file(environ, "MANIFEST_REPO_KNOWN_HOSTS")
    known_hosts = known_hosts or Path(environ.get("HOME", "/")) / ".ssh" / "known_hosts"
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={_quoted(known_hosts)}",
        f"GlobalKnownHostsFile={os.devnull}",
        "ConnectTimeout=20",
        "ServerAliveInterval=10",
    ]
    if key:
        options += ["IdentitiesOnly=yes", "IdentityAgent=none", f"IdentityFile={_quoted(key)}"]
    words = [word for option in options for word in ("-o", option)]
    return shlex.join(["ssh", "-F", os.devnull, *words])


def _quoted(path: Path) -> str:
    """The path as ssh reads it: `%` begins a token there, and Jenkins has `%2F` in workspaces."""
    return '"' + str(path).replace("%", "%%") + '"'
