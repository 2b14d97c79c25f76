"""Identifiers and secrets. UUIDs are version 7, so that index pages fill in order of creation."""

import secrets
import time
from uuid import UUID


def uuid7(unix_ms: int, random_bits: int) -> UUID:
    """RFC 9562 version 7: 48 bits of milliseconds, then 74 random bits. Pure."""
    rand_a, rand_b = (random_bits >> 62) & 0xFFF, random_bits & ((1 << 62) - 1)
    value = (unix_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    return UUID(int=value)


def new_id() -> UUID:
    """A fresh identifier."""
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))


def new_token() -> str:
    """256 bits from the system's generator, 43 URL-safe characters."""
    return secrets.token_urlsafe(32)
