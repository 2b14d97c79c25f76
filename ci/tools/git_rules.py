"""What git is given, an address, a branch, an environment, and what its answers mean.

Nothing that it is given does more than name one thing; it sees nothing of the machine's or the
person's configuration; answers are read as of LC_ALL=C.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ci.errors import Refused

HOST = r"(?P<{}>\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[1-9]\d*)?"
ADDRESS = re.compile(
    rf"https?://{HOST.format('host')}/\S*|ssh://(\w[\w.-]*@)?{HOST.format('ssh')}/\S*"
    r"|file:///\S*|\w[\w.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:\s]+",
    re.ASCII,
)
LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost|\[::1\]")
BRANCH = re.compile(r"(?![/.-])(?!.*(//|\.\.|@\{|/\.|\.lock(/|$)))[A-Za-z0-9._/+@#=-]+(?<![./])")
# status → what the server's or ssh's text holds, and what is told; the first that matches decides
MEANINGS = {
    "host_key": (
        r"host key verification failed|known_hosts",
        "the server's host key is not the one in MANIFEST_REPO_KNOWN_HOSTS",
    ),
    "credentials": (
        r"authentication failed|error: 40[13]|could not read (user|pass)|denied|load key|publickey",
        "the server accepts neither MANIFEST_REPO_USR and _PSW nor MANIFEST_REPO_SSH_KEY",
    ),
    "moved": (
        r"returned error: 30\d|url base from redirection",
        "it has moved, and credentials are not sent after it: set MANIFEST_REPO_URL anew",
    ),
    "not_found": (
        r"returned error: 4(04|10)|not found|not appear to be a git|no such repo",
        "no repository is there, or not for these credentials; check MANIFEST_REPO_URL",
    ),
}
LOST_RACE = re.compile(
    r"fetch first|non-fast-forward|failed to (update|lock)|cannot lock ref|unable to (create|lock)"
    r"|incorrect old value|stale info|remote ref updated|reference already exists",
    re.IGNORECASE,
)
PULL_REQUEST = re.compile(r"^remote:.*?(https?://[^\s<>]+)", re.MULTILINE)
REMOTE_SAID_NO = re.compile(r"\[remote rejected\]|hook declined|protected branch", re.IGNORECASE)
TRAILER = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9-]*):[ \t]*(?P<value>.*)")
PASSED_ON = (
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)
ALONE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": str(Path(__file__).with_name("gitconfig")),
    "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",  # a key with a passphrase fails at once instead of asking
    "SSH_ASKPASS_REQUIRE": "force",
    "GIT_SSH_VARIANT": "ssh",
    "LC_ALL": "C",
}


def check_url(url: str, *, plain_http: bool = False) -> str:
    """`url`, when it is an address git may be given; `Refused` says what is wrong with it."""
    if not url:
        text = "no manifest repository is known: set MANIFEST_REPO_URL, or url under [manifests]"
        raise Refused(f"{text} in ci/ci.toml", status="unconfigured")
    match, why = ADDRESS.fullmatch(url), ""
    if match is None:
        why = "it is none of https://host/path, ssh://user@host/path, file:///path and"
        why += " user@host:path (credentials belong into MANIFEST_REPO_USR and MANIFEST_REPO_PSW)"
    elif url.startswith("http:") and not plain_http and not LOOPBACK.fullmatch(match["host"]):
        why = "it sends the password in clear; use https://, or MANIFEST_REPO_PLAIN_HTTP=true"
    if why:
        # all before the last `@` may be a password, whatever it holds
        shown = re.sub(r"//.*@", "//", url, flags=re.DOTALL)
        raise Refused(f"{shown!r} is not used as an address: {why}", status="address")
    return url


def check_branch(name: str) -> str:
    """`name`, when it can be nothing but a branch."""
    if not BRANCH.fullmatch(name):
        raise Refused(f"{name!r} is not used as a branch name", status="branch")
    return name


def without_credentials(url: str) -> str:
    """`url` without what stands before the `@` of its host; ssh keeps its user name."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


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
    passed_on = {name: environ[name] for name in PASSED_ON if name in environ}
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return {**passed_on, **ALONE, **own, "GIT_SSH_COMMAND": _ssh_command(environ)}


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

    def quoted(path: Path) -> str:
        """As ssh reads it: `%` begins a token there, and Jenkins has `%2F` in workspaces."""
        return '"' + str(path).replace("%", "%%") + '"'

    key = key_file(environ, "MANIFEST_REPO_SSH_KEY")
    known_hosts = key_file(environ, "MANIFEST_REPO_KNOWN_HOSTS")
    known_hosts = known_hosts or Path(environ.get("HOME", "/")) / ".ssh" / "known_hosts"
    options = [
        *("BatchMode=yes", "StrictHostKeyChecking=yes"),
        f"UserKnownHostsFile={quoted(known_hosts)}",
        f"GlobalKnownHostsFile={os.devnull}",
        *("ConnectTimeout=20", "ServerAliveInterval=10"),
    ]
    if key:
        options += ["IdentitiesOnly=yes", "IdentityAgent=none", f"IdentityFile={quoted(key)}"]
    words = [word for option in options for word in ("-o", option)]
    return shlex.join(["ssh", "-F", os.devnull, *words])


def meaning(text: str) -> tuple[str, str] | None:
    """What went wrong with the server, as status and words; None when the text is not known."""
    for status, (pattern, words) in MEANINGS.items():
        if re.search(pattern, text, re.IGNORECASE):
            return status, words
    return None


def was_race(said: str) -> bool:
    """Whether git's own verdict on a push, not the words of a hook, tells of another push."""
    return any(line.startswith("!") and LOST_RACE.search(line) for line in said.splitlines())


def reasons(said: str) -> str:
    """What the server and its hooks said, without git's own ornament."""
    lines = [line for line in said.splitlines() if line.startswith(("remote:", "!"))]
    return "\n".join(f"  {line.removeprefix('remote:').strip()}" for line in lines) or said.strip()


def trailers_of(text: str) -> list[tuple[str, str]]:
    """(key, value) of the last of several paragraphs; folded lines joined, others left out."""
    paragraphs = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").strip("\n \t"))
    trailers: list[tuple[str, str]] = []
    for line in paragraphs[-1].split("\n") if len(paragraphs) > 1 else ():
        if line[:1] in {" ", "\t"} and trailers:
            key, value = trailers[-1]
            trailers[-1] = (key, f"{value} {line.strip()}".strip())
        elif match := TRAILER.fullmatch(line):
            trailers.append((match["key"], match["value"].strip()))
    return trailers
