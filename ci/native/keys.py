"""The secrets of a run: made once, kept in a file of its owner alone, and said when needed."""

import secrets
import string
import zlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from ci.native import state

CALLERS = ("das", "dis", "aps")  # each has a token of its own at ubs
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
HEAD = "# Secrets of this native run. Keep the file, and keep it to yourself.\n"
WELCOME = Path(__file__).with_name("welcome.txt")
ENDING = """\
  Ctrl-C stops everything. From another terminal: make status, make logs, make stop.
  Below: what the processes log; requests that went well only show in `make logs`.
"""


def api_key(body: str) -> str:
    """The API key with that body of 32 base62 characters: prefix, body, CRC32 of both in base 62.

    Source: docs/contracts.md §2.
    """
    text, digits = f"coh_live_{body}", ""
    number = zlib.crc32(text.encode())
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return text + digits


def fresh() -> dict[str, str]:
    """A new set of secrets, by the variable that carries each."""
    return {
        "SERVICE_TOKEN": secrets.token_urlsafe(32),
        **{f"{code.upper()}_SERVICE_TOKEN": secrets.token_urlsafe(32) for code in CALLERS},
        "UBS_SECRET_KEY": secrets.token_urlsafe(48),
        "UBS_SETUP_TOKEN": secrets.token_urlsafe(24),
        "UBS_BOOTSTRAP_API_KEY": api_key("".join(secrets.choice(BASE62) for _ in range(32))),
    }


def parse(text: str) -> dict[str, str]:
    """NAME=value lines; others are ignored."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs if not name.startswith("#")}


def keep(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The secrets of the run whose file is `path`, the file made or completed when needed.

    A value in `environ` wins for this run and is not written down.
    """
    present = parse(path.read_text()) if path.exists() else {}
    complete = fresh() | present
    if complete != present:
        lines = "".join(f"{name}={value}\n" for name, value in complete.items())
        state.replace(path, HEAD + lines, durable=True)
    return {name: environ.get(name) or value for name, value in complete.items()}


def of_service(code: str, known: Mapping[str, str]) -> dict[str, str]:
    """The part of a run's secrets that a service gets, by the names it reads: no other's token."""
    tokens = {caller: known[f"{caller.upper()}_SERVICE_TOKEN"] for caller in CALLERS}
    if code in tokens:
        return {"SERVICE_TOKEN": tokens[code]}
    own = {n: value for n, value in known.items() if n == "SERVICE_TOKEN" or n.startswith("UBS_")}
    return own | {"UBS_SERVICE_TOKENS": ",".join(f"{n}={token}" for n, token in tokens.items())}


def setup_link(public_url: str, token: str) -> str:
    """The one-time link that makes the first owner (docs/contracts.md §6)."""
    return f"{public_url}/#/setup/{quote(token, safe='')}"


def closing_words(public_url: str, key: str, link: str | None, ending: str = ENDING) -> str:
    """What a person needs once everything is ready; the set-up link while there is no owner."""
    first = f"\n  First sign-in  {link}   (once; makes you the owner)" if link else ""
    text = WELCOME.read_text(encoding="utf-8").rstrip("\n")
    return text.format(first=first, public_url=public_url, key=key, ending=ending)
