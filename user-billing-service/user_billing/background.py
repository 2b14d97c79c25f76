"""What this service does by itself: first start, key rotation, uses of keys, housekeeping.

    until done, each second …   bootstrap (waits for Postgres and for the schema)
    then, once                  end keys and invitations whose makers may no longer make them
    every 10 s                  flush `last_used_at`
    every 2 s                   send letters that are due
    every 10 min                rotate signing keys when due, sweep
    each in its own pause       the rooms' chores (app.py)
    all the time                deliver webhooks
Every step is idempotent and safe on all replicas at once; a failed one is logged and tried again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio.to_thread
import structlog

from user_billing.chassis.kinds import ServiceError
from user_billing.db.sweep import sweep
from user_billing.services import Services
from user_billing.setup.service import Bootstrap

log = structlog.get_logger()

FLUSH_S = 10.0
QUOTAS_S = 20.0
MAIL_S = 2.0
UPKEEP_S = 600.0
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Chore:
    """What a room does by itself, again `pause_s` after it was done."""

    name: str
    pause_s: float
    step: Callable[[], object]


@dataclass
class Background:
    """The tasks of one process; `started` tells why the first start is not done yet."""

    services: Services
    wanted: Bootstrap
    chores: Sequence[Chore]
    started: bool = False
    waiting_for: str = "not begun"
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """The tasks run; they wait for the database by themselves."""
        self._tasks = [asyncio.create_task(self._run())]

    async def stop(self) -> None:
        """The tasks have ended, and uses of keys are written if the database lets them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.started:
            await self._attempt("key_uses", self.services.keys.flush_uses)

    async def _run(self) -> None:
        while not self.started:
            self.started = await self._attempt("first_start", self.first_steps)
            if not self.started:
                await asyncio.sleep(RETRY_S)
        await self._attempt("outgrown_keys", self.services.members.end_outgrown)
        self._tasks += [
            asyncio.create_task(self._each(FLUSH_S, "key_uses", self.services.keys.flush_uses)),
            asyncio.create_task(self._each(MAIL_S, "mail", self.services.mail.work)),
            asyncio.create_task(self._each(UPKEEP_S, "upkeep", self.upkeep)),
            asyncio.create_task(self.services.courier.run()),
        ]
        for chore in self.chores:
            task = self._each(chore.pause_s, chore.name, chore.step)
            self._tasks.append(asyncio.create_task(task))

    async def _each(self, pause_s: float, name: str, step: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(pause_s)
            await self._attempt(name, step)

    async def _attempt(self, name: str, step: Callable[[], object]) -> bool:
        try:
            await anyio.to_thread.run_sync(step)
        except ServiceError as exc:
            if self.waiting_for != str(exc):
                log.warning("background_step_waits", step=name, reason=str(exc))
            self.waiting_for = str(exc)
            return False
        except Exception as exc:
            log.exception("background_step_failed", step=name)
            self.waiting_for = f"{name}: {type(exc).__name__}"
            return False
        return True

    def first_steps(self) -> None:
        """Signing keys exist, and what the environment asks for at first start is done."""
        self.services.signing.rotate()
        self.services.signing.current()  # held from now on, whatever becomes of the database
        token = self.services.first_start.bootstrap(self.wanted)
        if token is not None:
            url = self.services.settings.ui_public_url
            log.warning("set_up_link", url=f"{url}/#/setup/{token}", shown="once")

    def upkeep(self) -> None:
        """Signing keys are young enough, and nothing dead is kept."""
        if self.services.signing.rotate():
            log.info("signing_keys_rotated")
        with self.services.database.directory() as session:
            sweep(session, self.services.clock.now())
