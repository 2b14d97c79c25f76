"""What was revoked: read from ubs every 2 s, kept as long as a token may outlive it.

The first answer carries the last ten minutes, so a process that has just started knows each
revocation that a living token may be under; before it no token can be judged. Each answer also
names the signing keys that hold.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
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
    may have been revoked unseen. keep_signing_keys: called with the ids of those that hold.
    """

    def __init__(
        self,
        billing: Billing,
        clock: Clock,
        forget_keys: Callable[[str, str], None],
        keep_signing_keys: Callable[[Collection[str]], None],
    ) -> None:
        self._billing = billing
        self._clock = clock
        self._forget_keys = forget_keys
        self._keep_signing_keys = keep_signing_keys
        self._revoked_s: dict[str, float] = {}
        self._reading: asyncio.Task[bool] | None = None
        self._is_known = False
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

    async def require_known(self) -> None:
        """Passes once the log was read to its end; reads it when it never was.

        Raises IdentityUnavailable.
        """
        while not self._is_known:
            await self.read()

    async def read(self) -> bool:
        """Applies what was revoked since the last call; True while there is more to read.

        Callers at one time share one request. Raises IdentityUnavailable.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="read revocations")
            # Whoever waited may be gone by then; a failure is not worth a log line of asyncio's.
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._reading)

    async def close(self) -> None:
        """No request is on its way."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, ServiceError):
                await self._reading

    async def _read(self) -> bool:
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
        seq = int(answer["seq"])
        # A key cached before the first answer, or before ubs's log was set back, may have been
        # revoked unseen.
        if after is None or seq < after:
            self._forget_keys("all", "")
        # An older ubs names none; then the JWKS alone decides.
        if "signing_keys" in answer:
            self._keep_signing_keys(answer["signing_keys"])
        self.seq = seq
        more = len(answer["revocations"]) >= PAGE
        self._is_known = self._is_known or not more
        return more
