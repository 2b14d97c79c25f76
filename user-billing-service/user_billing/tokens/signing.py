"""The keys that sign tokens, and their rotation without a restart.

    next ──age──▶ active ──age──▶ retired ──two hours──▶ gone
    published     signs           published
Verifiers know `next` long before it signs, and know `retired` until its last token (5 minutes) and
every cached JWKS (5 minutes) are dead. At most one `next` and one `active` exist: a unique index.
After a leak nothing waits: all keys are dropped at once, with `next`, which lay beside them.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Row

from user_billing.chassis.clock import Clock
from user_billing.chassis.database import DatabaseUnavailable
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database
from user_billing.errors import NotAuthenticated
from user_billing.keyring import Keyring, SealBroken
from user_billing.model import Audience, KeyState
from user_billing.tokens import sql
from user_billing.tokens.claims import ISSUER, LEEWAY_S, LIFE_S

ALGORITHM = "EdDSA"

REFRESH = timedelta(seconds=2)


@dataclass(frozen=True)
class KeySet:
    """The signing keys as one process holds them."""

    active_kid: str
    private_key: Ed25519PrivateKey
    public_keys: dict[str, Ed25519PublicKey]
    jwks: bytes
    etag: str
    read_at: datetime


@dataclass
class SigningKeys:
    """Signs, verifies and publishes; every process reads the keys again each `REFRESH`."""

    database: Database
    clock: Clock
    keyring: Keyring
    rotate_after: timedelta
    _keys: KeySet | None = None
    _refreshing: threading.Lock = field(default_factory=threading.Lock)

    def sign(self, payload: dict[str, Any]) -> str:
        """A compact JWS with the active key's `kid`."""
        keys = self.current()
        headers = {"kid": keys.active_kid}
        return jwt.encode(payload, keys.private_key, algorithm=ALGORITHM, headers=headers)

    def verify(self, token: str, audience: Audience) -> dict[str, Any]:
        """The claims of a token of ours for `audience`. Raises NotAuthenticated."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            public_key = self.current().public_keys.get(str(kid))
            if public_key is None:
                raise NotAuthenticated(detail="the token is signed with an unknown key")
            claims: dict[str, Any] = jwt.decode(
                token,
                public_key,
                algorithms=[ALGORITHM],
                audience=audience.value,
                issuer=ISSUER,
                options={
                    "require": ["iss", "aud", "sub", "org", "exp", "iat", "jti"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError as exc:
            raise NotAuthenticated(detail=f"the token is not valid: {exc}") from exc
        now_s, issued_s, expires_s = self.clock.now().timestamp(), claims["iat"], claims["exp"]
        if not (isinstance(issued_s, int) and isinstance(expires_s, int)):
            raise NotAuthenticated(detail="the token is not valid: iat and exp are integers")
        if expires_s + LEEWAY_S <= now_s:
            raise NotAuthenticated(detail="the token has expired")
        if issued_s - LEEWAY_S > now_s or expires_s - issued_s > LIFE_S:
            raise NotAuthenticated(detail=f"the token lives over {LIFE_S} s")
        return claims

    def current(self) -> KeySet:
        """The keys now; those held go on serving when the database does not answer."""
        keys, now = self._keys, self.clock.now()
        if keys is not None and now - keys.read_at < REFRESH:
            return keys
        if keys is not None and self._refreshing.locked():
            return keys
        with self._refreshing:
            keys = self._keys
            if keys is not None and now - keys.read_at < REFRESH:
                return keys
            try:
                with self.database.directory() as session:
                    stored = sql.signing_keys(session)
                self._keys = self._opened(stored, now)
            except DatabaseUnavailable:
                if keys is None:
                    raise
                return keys
            return self._keys

    def _opened(self, stored: Sequence[Row[Any]], now: datetime) -> KeySet:
        active = next((key for key in stored if key.state == KeyState.ACTIVE), None)
        if active is None:
            raise DatabaseUnavailable(detail="there is no signing key yet", retry_after_s=1)
        try:
            private = self.keyring.open(active.private_key_sealed, label=active.kid)
        except SealBroken as exc:
            raise DatabaseUnavailable(
                detail="the signing keys were sealed with another UBS_SECRET_KEY"
            ) from exc
        jwks = json.dumps(
            {"keys": [_jwk(key) for key in stored]}, sort_keys=True, separators=(",", ":")
        ).encode()
        return KeySet(
            active_kid=active.kid,
            private_key=Ed25519PrivateKey.from_private_bytes(private),
            public_keys={
                key.kid: Ed25519PublicKey.from_public_bytes(key.public_key) for key in stored
            },
            jwks=jwks,
            etag=f'"{hashlib.sha256(jwks).hexdigest()[:32]}"',
            read_at=now,
        )

    def rotate(self) -> bool:
        """Whether keys were made or moved: there is one active and one next key afterwards."""
        now = self.clock.now()
        with self.database.directory() as session:
            sql.lock_signing_keys(session)
            stored = sql.signing_keys(session)
            by_state = {key.state: key for key in stored if key.state != KeyState.RETIRED}
            active, following = by_state.get(KeyState.ACTIVE), by_state.get(KeyState.NEXT)
            changed = False
            if active is None or now - active.activated_at >= self.rotate_after:
                promoted = self._made(session, now) if following is None else following.kid
                if active is not None:
                    sql.move_signing_key(session, active.kid, KeyState.RETIRED, now)
                sql.move_signing_key(session, promoted, KeyState.ACTIVE, now)
                following, changed = None, True
            if following is None:
                self._made(session, now)
                changed = True
        if changed:
            self._read_again()
        return changed

    def replace_all(self) -> None:
        """New keys sign, and nothing that was signed before verifies: for after a leak.

        This process follows at once, other ones of this service within `REFRESH`, the others
        with their next poll of the revocations.
        """
        now = self.clock.now()
        with self.database.directory() as session:
            sql.lock_signing_keys(session)
            rows.drop(session, t.signing_key)
            sql.move_signing_key(session, self._made(session, now), KeyState.ACTIVE, now)
            self._made(session, now)
        self._read_again()

    def _read_again(self) -> None:
        keys = self._keys
        if keys is not None:
            self._keys = replace(keys, read_at=keys.read_at - REFRESH)

    def _made(self, session: BoundSession, now: datetime) -> str:
        """The `kid` of a new key, which is stored."""
        private_key = Ed25519PrivateKey.generate()
        public = private_key.public_key().public_bytes_raw()
        kid = _thumbprint(public)
        sealed = self.keyring.seal(private_key.private_bytes_raw(), label=kid)
        sql.add_signing_key(
            session, kid=kid, public_key=public, private_key_sealed=sealed, created_at=now
        )
        return kid


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwk(key: Row[Any]) -> dict[str, str]:
    return {**_octets(key.public_key), "kid": key.kid, "alg": ALGORITHM, "use": "sig"}


def _octets(public: bytes) -> dict[str, str]:
    """The required members of an OKP key (RFC 8037 §2)."""
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public)}


def _thumbprint(public: bytes) -> str:
    """The key's name: RFC 7638 thumbprint of an OKP key (RFC 8037 appendix A.3)."""
    canonical = json.dumps(_octets(public), sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(canonical.encode()).digest())
