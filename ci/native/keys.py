"""The secrets of a native run: made once, kept in one file that only its owner reads."""

import os
import secrets
import string
import zlib
from collections.abc import Mapping
from pathlib import Path

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY_PREFIX = "coh_live_"


def base62(number: int, width: int) -> str:
    """`number` in base 62, most significant first, zero-padded to `width`."""
    digits = ""
    while number or len(digits) < width:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def api_key(body: str) -> str:
    """The API key with that body of 32 base62 characters: prefix, body, CRC32 of both.

    Source: docs/contracts.md §2.
    """
    text = KEY_PREFIX + body
    return text + base62(zlib.crc32(text.encode()), 6)


def fresh() -> dict[str, str]:
    """A new set of secrets, by the variable that carries each."""
    body = "".join(secrets.choice(BASE62) for _ in range(32))
    return {
        "SERVICE_TOKEN": secrets.token_urlsafe(32),
        "UBS_SECRET_KEY": secrets.token_urlsafe(48),
        "UBS_SETUP_TOKEN": secrets.token_urlsafe(24),
        "UBS_BOOTSTRAP_API_KEY": api_key(body),
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
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("# Secrets of this native run. Keep the file, and keep it to yourself.\n")
            file.writelines(f"{name}={value}\n" for name, value in complete.items())
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    return {name: environ.get(name) or value for name, value in complete.items()}
