"""What a git server and ssh say, and what it means. PURE; the texts are those of LC_ALL=C."""

import re
from dataclasses import dataclass

from ci.errors import CiError

# What the server's or ssh's text means; the first that is found decides.
MEANINGS = (
    ("host_key", re.compile(r"host key verification failed|known_hosts", re.IGNORECASE)),
    (
        "credentials",
        re.compile(
            r"authentication failed|returned error: 40[13]|could not read (username|password)"
            r"|permission denied|access denied|invalid (username|credentials)|load key|publickey",
            re.IGNORECASE,
        ),
    ),
    ("moved", re.compile(r"returned error: 30\d|url base from redirection", re.IGNORECASE)),
    (
        "not_found",
        re.compile(
            r"returned error: 4(04|10)|not found|not appear to be a git|no such repo", re.IGNORECASE
        ),
    ),
)
SAYING = {
    "host_key": "the server's host key is not the one in MANIFEST_REPO_KNOWN_HOSTS",
    "credentials": "the server does not accept the credentials"
    " (MANIFEST_REPO_USR and MANIFEST_REPO_PSW, or MANIFEST_REPO_SSH_KEY)",
    "moved": "the repository has moved; credentials are not sent after it:"
    " set MANIFEST_REPO_URL to its new address",
    "not_found": "no repository is there, or not for these credentials; check MANIFEST_REPO_URL",
}
LOST_RACE = re.compile(
    r"fetch first|non-fast-forward|failed to (update|lock)|cannot lock ref|unable to (create|lock)"
    r"|incorrect old value|stale info|remote ref updated|reference already exists",
    re.IGNORECASE,
)
LINK = re.compile(r"^remote:.*?(https?://[^\s<>]+)", re.MULTILINE)
REMOTE_SAID_NO = re.compile(r"\[remote rejected\]|hook declined|protected branch", re.IGNORECASE)


@dataclass(frozen=True)
class Pushed:
    """What a push came to. landed, lost_race, or neither: then `error` says why."""

    landed: bool
    lost_race: bool = False
    error: CiError | None = None
    said: str = ""

    @property
    def link(self) -> str | None:
        """The address that the server told, as hosts do where a pull request may be opened."""
        match = LINK.search(self.said)
        return match[1] if match else None


def was_race(said: str) -> bool:
    """Whether git's own verdict on a push, not the words of a hook, tells of another push."""
    return any(line.startswith("!") and LOST_RACE.search(line) for line in said.splitlines())


def reasons(said: str) -> str:
    """What the server and its hooks said, without git's own ornament."""
    reasons = [line for line in said.splitlines() if line.startswith(("remote:", "!"))]
    return (
        "\n".join(f"  {line.removeprefix('remote:').strip()}" for line in reasons) or said.strip()
    )
