"""Every secret this service works with, derived from `UBS_SECRET_KEY`.

    UBS_SECRET_KEY ──HKDF-SHA256──┬─ api-key pepper v1     HMAC of API keys at rest
                                  ├─ session pepper        HMAC of cookies and links at rest
                                  ├─ csrf                  token bound to a session
                                  ├─ throttle              names of accounts in throttle buckets
                                  ├─ device                cookie of a browser that logged in
                                  ├─ set-up                the one-time link
                                  └─ signing-key seal      AES-256-GCM of private keys, second
                                                           factors and letters at rest, of a begun
                                                           log-in
One label, one purpose: knowing one derived key tells nothing about another.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PEPPER_VERSION = 1

DEVICE_LIFE = timedelta(days=90)

_NONCE_BYTES = 12


class SealBroken(Exception):
    """Sealed bytes cannot be opened: they were sealed with another secret or label."""


class Keyring:
    """The derived keys, held in memory; every method is a pure function of them."""

    def __init__(self, secret: str) -> None:
        """secret: at least 32 bytes, as `UBS_SECRET_KEY` is."""
        self._secret = secret.encode()
        self._api_keys = self._derive(f"api-key pepper v{PEPPER_VERSION}")
        self._sessions = self._derive("session pepper v1")
        self._csrf = self._derive("csrf v1")
        self._throttle = self._derive("throttle v1")
        self._device = self._derive("device v1")
        self._set_up = self._derive("set-up v1")
        self._seal = AESGCM(self._derive("signing-key seal v1"))

    def _derive(self, label: str) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=b"cloudopshub", info=label.encode()).derive(
            self._secret
        )

    def api_key_hash(self, key: str) -> bytes:
        """What is stored of an API key: 32 bytes. 190 random bits need no slow hash."""
        return hmac.digest(self._api_keys, key.encode(), "sha256")

    def token_hash(self, purpose: str, token: str) -> bytes:
        """What is stored of a random token (`session`, `invitation`, `mailed`): 32 bytes."""
        return hmac.digest(self._sessions, f"{purpose}\0{token}".encode(), "sha256")

    def csrf_token(self, session_id: UUID) -> str:
        """The token the page must send with unsafe requests of this session."""
        return hmac.new(self._csrf, session_id.bytes, hashlib.sha256).hexdigest()

    def throttle_name(self, email: str) -> str:
        """A bucket name that tells nobody which address is meant."""
        return hmac.new(self._throttle, email.encode(), hashlib.sha256).hexdigest()[:32]

    def device_token(self, email: str, now: datetime) -> str:
        """What a browser that logged in as `email` may show for DEVICE_LIFE: `time.name.proof`."""
        body = f"{int(now.timestamp())}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._device_proof(email, body)}"

    def device_of(self, token: str, email: str, now: datetime) -> str | None:
        """The name of the browser that logged in as `email`; None for any other token."""
        body, _, proof = token.rpartition(".")
        expected = self._device_proof(email, body)
        if not hmac.compare_digest(expected.encode(), proof.encode()):
            return None
        made_s, _, name = body.partition(".")
        return name if now.timestamp() - int(made_s) < DEVICE_LIFE.total_seconds() else None

    def _device_proof(self, email: str, body: str) -> str:
        return hmac.new(self._device, f"{email}\0{body}".encode(), hashlib.sha256).hexdigest()

    def set_up_token(self, nonce: bytes) -> str:
        """The one-time set-up token of an installation; the database holds only the nonce."""
        return hmac.new(self._set_up, nonce, hashlib.sha256).hexdigest()

    def seal(self, plain: bytes, *, label: str) -> bytes:
        """`plain` encrypted and bound to `label`: nonce, then ciphertext with its tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, plain, label.encode())

    def open(self, sealed: bytes, *, label: str) -> bytes:
        """What was sealed under `label`. Raises SealBroken for another secret, label or bytes."""
        try:
            return self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], label.encode())
        except InvalidTag as exc:
            raise SealBroken(label) from exc
