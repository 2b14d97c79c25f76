"""Codes of a second factor. Pure. Sources: RFC 6238; NIST SP 800-63B-4 §3.1.4 and §3.1.2."""

import base64
import hmac
import secrets
from datetime import datetime

import pyotp

STEP_S = 30
DRIFT_STEPS = 1
"""Steps that a phone's clock may be off, in either direction."""
RECOVERY_CODES = 10
RECOVERY_BYTES = 10


def new_secret() -> str:
    """160 bits in base32, as an authenticator takes them."""
    return pyotp.random_base32(32)


def matching_step(secret: str, code: str, now: datetime, *, last_step: int) -> int | None:
    """The time step whose code this is; None for a wrong one or one of a step already used.

    last_step: the newest step that was accepted. Every candidate is compared, in constant time.
    """
    present = int(now.timestamp()) // STEP_S
    totp = pyotp.TOTP(secret)
    match = None
    for step in range(present - DRIFT_STEPS, present + DRIFT_STEPS + 1):
        is_equal = hmac.compare_digest(totp.generate_otp(step).encode(), code.encode())
        if is_equal and step > last_step:
            match = step
    return match


def otpauth(secret: str, email: str) -> str:
    """The text that an authenticator reads, as a link or from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="CloudOpsHub")


def new_recovery_code() -> str:
    """80 bits as `xxxx-xxxx-xxxx-xxxx`, base32 in lower case."""
    text = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def normalise_code(text: str) -> str:
    """A code as it is compared: without spaces and hyphens, in lower case, bounded."""
    return "".join(text[:64].split()).replace("-", "").lower()
