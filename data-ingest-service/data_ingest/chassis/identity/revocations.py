"""What was revoked: read from ubs every 2 s, kept as long as a token may outlive it."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from ..clock import Clock
from ..kinds import ServiceError
from .billing import Billing
from .principal import Principal

POLL_S: Final = 2.0
MEMORY_S: Final = 600.0
PAGE: Final = 1_000

log = structlog.get_logger()


class Revocations:
    """Sessions, users and organisations whose tokens are refused.

    forget_keys: called with the kind and id of each revocation, and with `("all", "")` when keys
    may have been revoked unseen.
    """

    def __init__(
        self, billing: Billing, clock: Clock, forget_keys: Callable[[str, str], None]
    ) -> None:
        self._billing = billing
        self._clock = clock
        self._forget_keys = forget_keys
        self._revoked_s: dict[str, float] = {}
        self.seq: int | None = None
        """Number of the newest revocation that was read; None before the first answer."""

    async def follow(self) -> None:
        """Reads until it is cancelled."""
        while True:
            try:
                more = await self.read()
            except ServiceError as error:
                log.warning("revocations_unread", reason=str(error))
                more = False
            except Exception:
                log.exception("revocations_unread")
                more = False
            if not more:
                await asyncio.sleep(POLL_S)

    def covers(self, principal: Principal, issued_s: float) -> bool:
        """Whether a token of `principal` that was issued then is revoked.

        A session never comes back; a user or organisation does, with tokens issued later.
        """
        if f"session:{principal.credential_id}" in self._revoked_s:
            return True
        owners = (f"user:{principal.subject}", f"organisation:{principal.tenant}")
        return any(self._revoked_s.get(owner, -1.0) >= issued_s for owner in owners)

    async def read(self) -> bool:
        """Applies what was revoked since the last call; True while there is more to read."""
        after = self.seq
        query = {} if after is None else {"after": str(after)}
        answer = await self._billing.ask("GET", "/internal/revocations", params=query)
        now_s = self._clock.now_s()
        for revocation in answer["revocations"]:
            kind, ref = str(revocation["kind"]), str(revocation["ref"])
            self._forget_keys(kind, ref)
            if kind != "key":
                at_s = datetime.fromisoformat(revocation["at"]).timestamp()
                self._revoked_s[f"{kind}:{ref}"] = at_s
        self._revoked_s = {
            ref: at_s for ref, at_s in self._revoked_s.items() if at_s > now_s - MEMORY_S
        }
        if after is None:  # a key cached before the first answer may have been revoked unseen
            self._forget_keys("all", "")
        self.seq = int(answer["seq"])
        return len(answer["revocations"]) >= PAGE
