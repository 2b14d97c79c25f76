"""What a git server, ssh and a commit message say, and what it means: PURE. As of LC_ALL=C."""

import re

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
