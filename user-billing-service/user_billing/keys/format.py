"""The text of an API key: checked without asking anyone. Pure.

    coh_live_ + 32 base62 characters + 6 base62 characters of CRC32
    └ prefix ┘  └ 190 bits of secret ┘  └ over everything before it ┘

The prefix and the checksum let secret scanners and humans' typing errors be recognised without a
look-up. Contract: docs/contracts.md §2.
"""

import re
import secrets
import string
import zlib

PREFIX = "coh_live_"

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase

SECRET_CHARACTERS = 32

CHECK_CHARACTERS = 6

START_CHARACTERS = 12
"""How much of a key is kept and shown: prefix and three characters, enough to tell keys apart."""

PATTERN = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{SECRET_CHARACTERS + CHECK_CHARACTERS}}}", re.ASCII)


def base62(number: int, width: int) -> str:
    """`number` in base 62 (digits, upper, lower case), zero-padded to `width`."""
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    assert number == 0, "the number does not fit the width"
    return "".join(reversed(digits))


def checksum(body: str) -> str:
    """The six characters that end a key whose first part is `body`."""
    return base62(zlib.crc32(body.encode("ascii")), CHECK_CHARACTERS)


def build(secret: str) -> str:
    """The whole key for 32 base62 characters of secret."""
    assert len(secret) == SECRET_CHARACTERS, "a secret has 32 characters"
    body = PREFIX + secret
    return body + checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether `text` has the shape of a key and its checksum fits."""
    if PATTERN.fullmatch(text) is None:
        return False
    return text[-CHECK_CHARACTERS:] == checksum(text[:-CHECK_CHARACTERS])


def start_of(key: str) -> str:
    """The part of a key that may be stored and shown."""
    return key[:START_CHARACTERS]


def new_api_key() -> str:
    """A fresh API key with 190 bits of secret."""
    return build("".join(secrets.choice(ALPHABET) for _ in range(SECRET_CHARACTERS)))
