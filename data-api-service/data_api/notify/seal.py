"""Configurations at rest: encrypted, since their URLs and passwords open other people's doors.

The key is derived from `DAS_SECRET_KEY`; each text is bound to its tenant.
"""

import secrets
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from data_api.notify.errors import Unreadable

_NONCE_BYTES: Final = 12


class Sealer:
    """Seals and opens texts of tenants."""

    def __init__(self, secret: str) -> None:
        derived = HKDF(SHA256(), 32, b"cloudopshub", b"das notifications v1").derive(
            secret.encode()
        )
        self._cipher = AESGCM(derived)

    def seal(self, tenant: UUID, text: str) -> bytes:
        """Nonce, then ciphertext with its tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), tenant.bytes)

    def open(self, tenant: UUID, sealed: bytes) -> str:
        """What was sealed for this tenant; Unreadable for another secret, tenant or bytes."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, tenant.bytes).decode()
        except InvalidTag as exc:
            raise Unreadable from exc
