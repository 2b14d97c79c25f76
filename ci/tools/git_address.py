"""What git may be given as an address or a branch: nothing that does more than name one. PURE."""

import re
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
