"""What git may be given as an address or a branch: nothing that does more than name one. PURE."""

import re
from urllib.parse import urlsplit, urlunsplit

from ci.errors import Refused

LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost|::1")
SCP_LIKE = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9][A-Za-z0-9.-]*:[^:\s]+")
BRANCH = re.compile(r"(?![/.-])(?!.*(//|\.\.|@\{|/\.|\.lock(/|$)))[A-Za-z0-9._/+@#=-]+(?<![./])")
SCHEMES = {"https", "http", "ssh", "file"}


def check_url(url: str, *, plain_http: bool = False) -> str:
    """`url`, when it is an address git may be given; `Refused` says what is wrong with it."""
    if not url:
        text = "no manifest repository is known: set MANIFEST_REPO_URL, or url under [manifests]"
        raise Refused(f"{text} in ci/ci.toml", status="unconfigured")
    if SCP_LIKE.fullmatch(url) and not url.startswith("-"):
        return url
    try:
        parts = urlsplit(url)
        has_port_0 = parts.port == 0
    except ValueError:  # a `/` in a password ends the host, and what is left of it is no port
        parts, has_port_0 = urlsplit(""), True
    host, scheme = parts.hostname or "", parts.scheme
    in_clear = scheme == "http" and not plain_http and not LOOPBACK.fullmatch(host)
    credentials = (scheme in {"http", "https"} and "@" in parts.netloc) or parts.password
    faults = (
        (url.startswith("-"), "it looks like an option"),
        (has_port_0, "its host or its port is none"),
        (re.search(r"[\x00-\x20\x7f]", url), "it holds blanks or control characters"),
        (
            "::" in url.split("/", 1)[0],
            "it names a transport helper (`ext::` and its like run programs)",
        ),
        (scheme not in SCHEMES, "only https://, ssh://, file:// and user@host:path are spoken"),
        (
            credentials,
            "it holds credentials; they belong into MANIFEST_REPO_USR and MANIFEST_REPO_PSW",
        ),
        (scheme != "file" and (not host or host.startswith("-")), "it has no host"),
        (
            in_clear,
            "it sends the password in clear; use https://, or MANIFEST_REPO_PLAIN_HTTP=true",
        ),
    )
    for is_so, why in faults:
        if is_so:
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
