"""What the API does with notifications: configuration, alerts, silences, tests. No HTTP here."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from data_api.errors import InvalidParameter, NotFound
from data_api.model import Matcher, MatchOp
from data_api.notify import matchers, routing
from data_api.notify.compiled import EMPTY, Compiled, Configurations, compiled
from data_api.notify.dispatcher import send
from data_api.notify.errors import BadMatcher, TooMany, Unreadable
from data_api.notify.integrations import Integration
from data_api.notify.plan import Group, Planner, notification
from data_api.notify.receive import receive
from data_api.notify.seal import Sealer
from data_api.notify.sending import Outcome, Sender
from data_api.notify.state import Outbox, Received, Silence, fingerprint
from data_api.notify.store import Attempt, NotifyStore
from data_api.notify.times import LAST_MS, parse_ms
from data_api.rules.model import Alert
from data_api.store.catalogue import Database

POSTED_MAX: Final = 1_000
TEXTS_MAX: Final = 8192
THREADS: Final = 2
"""That compute at once: more would only wait for each other's Python, and the loop for theirs."""
WAITING_MAX: Final = 20
"""Requests of one tenant that wait for each other."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An alert as the API shows it, with why it may not be told."""

    received: Received
    silenced_by: Sequence[str]
    inhibited_by: Sequence[str]
    muted_by: Sequence[str] = ()
    receivers: Sequence[str] = ()

    @property
    def state(self) -> str:
        """Alertmanager's word."""
        return "suppressed" if self.silenced_by or self.inhibited_by else "active"


@dataclass(slots=True)
class SeenGroup:
    """A group with its alerts."""

    receiver: str
    labels: Mapping[str, str]
    alerts: list[Seen] = field(default_factory=list)


Show = Callable[[Sequence[SeenGroup], Sequence[Seen]], bytes]


class Notifications:
    """The notifications of all tenants, as the API changes and shows them."""

    def __init__(
        self, database: Database, sealer: Sealer, sender: Sender, external_url: str = ""
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._sender = sender
        self._external_url = external_url
        self._configurations = Configurations(sealer)
        self._threads = anyio.CapacityLimiter(THREADS)
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._waiting: Counter[UUID] = Counter()
        self._testing: set[UUID] = set()
        self.store = NotifyStore(database)

    async def close(self) -> None:
        """No connection to a receiver is left."""
        await self._sender.close()

    @asynccontextmanager
    async def _turn(self, tenant: UUID) -> AsyncIterator[None]:
        """What a tenant makes us read and compute is done one after the other, and not for all who
        ask at once.
        """
        if self._waiting[tenant] >= WAITING_MAX:
            raise TooMany(detail="requests of this tenant at once", limit=WAITING_MAX)
        self._waiting[tenant] += 1
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        try:
            async with turn:
                yield
        finally:
            self._waiting[tenant] -= 1
            self._waiting += Counter()  # which leaves no zeros

    async def compiled(self, tenant: UUID) -> Compiled:
        """The tenant's configuration, or an empty one."""
        async with self._turn(tenant):
            return await self._configurations.of(tenant, await self.store.config(tenant))

    async def config_text(self, tenant: UUID) -> str | None:
        """The configuration as it may be shown: secrets are masked; None where there is none."""
        return (await self.compiled(tenant)).shown or None

    async def set_config(self, tenant: UUID, text: str | None, now_ms: int) -> None:
        """It holds from the next pass on; BadConfiguration when it cannot. None takes it away."""
        if text is not None:
            async with self._turn(tenant):
                await anyio.to_thread.run_sync(compiled, text, limiter=self._threads)
        sealed = None if text is None else self._sealer.seal(tenant, text)
        await self.store.set_config(tenant, sealed, now_ms)

    async def seen(self, tenant: UUID, now_ms: int, show: Show) -> bytes:
        """What `show` makes, in a thread, of the firing alerts: by group, and each once with all of
        its receivers.
        """
        ready = await self.compiled(tenant)
        async with self._turn(tenant):
            state = await self.store.load(tenant, alerts_only=True)
            return await anyio.to_thread.run_sync(
                lambda: show(*_seen(ready, state, now_ms)), limiter=self._threads
            )

    async def post_alerts(self, tenant: UUID, given: Any, now_ms: int) -> None:
        """Alerts from outside are stored; without an end, they end after `resolve_timeout`."""
        if not isinstance(given, list) or len(given) > POSTED_MAX:
            reason = f"expected a list of at most {POSTED_MAX} alerts"
            raise InvalidParameter(name="body", reason=reason)
        try:
            ready = await self.compiled(tenant)
        except Unreadable:  # alerts are taken all the same
            ready = EMPTY
        timeout_ms = ready.config.defaults.resolve_timeout
        alerts = [_alert(one, now_ms, timeout_ms) for one in given]
        await receive(self._database, tenant, alerts, now_ms)

    async def put_silence(self, tenant: UUID, given: Any, now_ms: int) -> UUID:
        """The id of the new or changed silence.

        Where a changed one would be another for what was silenced so far, the old one expires.
        """
        new = _silence(given, now_ms)
        if not given.get("id"):
            await self.store.put_silences(tenant, now_ms, new)
            return new.silence_id
        old = await self.silence(tenant, str(given["id"]))
        if _can_change(old, new, now_ms):
            await self.store.put_silences(tenant, now_ms, replace(new, silence_id=old.silence_id))
            return old.silence_id
        await self.store.put_silences(tenant, now_ms, expired(old, now_ms), new)
        return new.silence_id

    async def silence(self, tenant: UUID, name: str) -> Silence:
        """The silence of that id, or NoSuchThing."""
        silences = await self.store.silences(tenant)
        matching = [one for one in silences if str(one.silence_id) == name.lower()]
        if not matching:
            raise NotFound(detail=f"silence {name[:40]}")
        return matching[0]

    async def expire_silence(self, tenant: UUID, name: str, now_ms: int) -> None:
        """It silences nothing from now on."""
        old = await self.silence(tenant, name)
        await self.store.put_silences(tenant, now_ms, expired(old, now_ms))

    async def test(self, tenant: UUID, name: str, now_ms: int) -> dict[str, Outcome]:
        """What came of telling each integration of a receiver a sample alert, once.

        Of a tenant one test at a time, so that nobody sends many messages to strangers by it.
        """
        if tenant in self._testing:
            raise TooMany(detail="tests of receivers of this tenant at once", limit=1)
        self._testing.add(tenant)
        try:
            return await self._tested(tenant, name, now_ms)
        finally:
            self._testing.remove(tenant)

    async def _tested(self, tenant: UUID, name: str, now_ms: int) -> dict[str, Outcome]:
        ready = await self.compiled(tenant)
        receiver = ready.config.receiver(name)
        if receiver is None or ready.root is None:
            raise NotFound(detail=f"receiver {name[:100]}")
        labels = {"alertname": "TestAlert", "severity": "info"}
        texts = {"summary": f"A test of the receiver {name}: nothing is wrong."}
        alert = Alert(labels, texts, now_ms, now_ms + 300_000, now_ms)
        config = ready.root.config.model_copy(update={"receiver": name})
        route = replace(ready.root, config=config, key="{test}")
        group = Group("test", route, labels)
        members = [Received(alert, fingerprint(labels))]
        data = notification(group, members, now_ms, self._external_url)

        async def tell(key: str, integration: Integration) -> Outcome:
            box = Outbox(uuid4(), frozenset(), now_ms, data)
            outcome = await send(
                self._sender, ready, integration, box, now_ms, composing=self._threads
            )
            attempt = Attempt(now_ms, box.outbox_id, name, key, "test", 1, 1)
            await self.store.record(tenant, attempt, outcome)
            return outcome

        integrations = receiver.integrations()
        outcomes = await asyncio.gather(*(tell(*one) for one in integrations.items()))
        return dict(zip(integrations, outcomes, strict=True))


def _seen(ready: Compiled, state: Any, now_ms: int) -> tuple[list[SeenGroup], list[Seen]]:
    state = replace(state, alerts=[one for one in state.alerts if one.is_firing(now_ms)])
    planner = Planner(ready.config, ready.root, state, now_ms)
    alerts: dict[str, Seen] = {}
    for one in state.alerts:
        source = planner.inhibition.by(one.alert.labels)
        silences = planner.silences.by(one.alert.labels)
        alerts[one.fingerprint] = Seen(one, silences, [source] if source else [])
    groups = []
    for group in planner.groups.values():
        muted = routing.time_muted_by(group.route, ready.config, now_ms)
        shown = SeenGroup(group.route.config.receiver, group.labels)
        for one in group.members:
            seen = alerts[one.fingerprint]
            names = list(dict.fromkeys((*seen.receivers, group.route.config.receiver)))
            alerts[one.fingerprint] = replace(seen, receivers=names)
            shown.alerts.append(
                replace(seen, receivers=[group.route.config.receiver], muted_by=muted)
            )
        groups.append(shown)
    groups.sort(key=lambda group: (sorted(group.labels.items()), group.receiver))
    return groups, list(alerts.values())


def _texts(given: Any, name: str) -> dict[str, str]:
    is_texts = isinstance(given, dict) and all(
        isinstance(text, str) and "\0" not in name + text for name, text in given.items()
    )
    if not is_texts or sum(len(key) + len(text) for key, text in given.items()) > TEXTS_MAX:
        reason = f"expected names and texts, {TEXTS_MAX} characters at most, none of them NUL"
        raise InvalidParameter(name=name, reason=reason)
    return {key: text for key, text in given.items() if text}


def _alert(given: Any, now_ms: int, timeout_ms: int) -> Alert:
    if not isinstance(given, dict):
        raise InvalidParameter(name="body", reason="each alert is an object")
    labels = _texts(given.get("labels"), "labels")
    if not labels:
        raise InvalidParameter(name="labels", reason="an alert needs at least one label")
    ends_ms, starts_ms = (_time(given, name) for name in ("endsAt", "startsAt"))
    starts_ms = starts_ms or (min(ends_ms, now_ms) if ends_ms else now_ms)
    if ends_ms and ends_ms < starts_ms:
        raise InvalidParameter(name="endsAt", reason="it is before startsAt")
    texts = _texts(given.get("annotations") or {}, "annotations")
    link = str(given.get("generatorURL") or "")[:2048]
    return Alert(labels, texts, starts_ms, ends_ms or now_ms + timeout_ms, now_ms, link)


def _time(given: Mapping[str, Any], name: str) -> int:
    """A time of an alert; 0 where there is none, which Go writes as the year 1."""
    text = given.get(name)
    return 0 if not text or str(text).startswith("0001-") else parse_ms(name, text)


def _silence(given: Any, now_ms: int) -> Silence:
    if not isinstance(given, dict) or not isinstance(given.get("matchers"), list):
        raise InvalidParameter(name="matchers", reason="a silence needs a list of matchers")
    starts_ms = max(now_ms, parse_ms("startsAt", given.get("startsAt")))
    ends_ms = min(LAST_MS, parse_ms("endsAt", given.get("endsAt")))
    if ends_ms <= starts_ms:
        raise InvalidParameter(name="endsAt", reason="it is not after startsAt and now")
    chosen = tuple(_matcher(one) for one in given["matchers"])
    if all(one.matches_absent() for one in chosen) or len(chosen) > matchers.MATCHERS_MAX:
        reason = f"1 to {matchers.MATCHERS_MAX}, one of which does not match the empty text"
        raise InvalidParameter(name="matchers", reason=reason)
    if sum(len(one.name) + len(one.value) for one in chosen) > TEXTS_MAX:
        raise InvalidParameter(name="matchers", reason=f"{TEXTS_MAX} characters at most")
    words = _texts(
        {name: given.get(name) for name in ("createdBy", "comment")}, "createdBy and comment"
    )
    return Silence(
        uuid4(),
        chosen,
        starts_ms,
        ends_ms,
        now_ms,
        words.get("createdBy", ""),
        words.get("comment", ""),
    )


def _matcher(given: Any) -> Matcher:
    if not isinstance(given, dict) or not isinstance(given.get("value"), str):
        raise BadMatcher(detail="a matcher has name, value, isRegex and isEqual")
    is_equal, is_regex = given.get("isEqual", True), given.get("isRegex", False)
    op = (MatchOp.NOT_EQUAL, MatchOp.EQUAL, MatchOp.NOT_REGEX, MatchOp.REGEX)
    return matchers.checked(
        str(given.get("name", "")), op[2 * bool(is_regex) + bool(is_equal)], given["value"]
    )


def _can_change(old: Silence, new: Silence, now_ms: int) -> bool:
    """Whether the old one silenced nothing so far that the new one would not, as Alertmanager."""
    if old.matchers != new.matchers or old.state(now_ms) == "expired":
        return False
    return old.state(now_ms) == "pending" or new.starts_at_ms <= now_ms


def expired(silence: Silence, now_ms: int) -> Silence:
    """The silence, over since now; one that has not begun never does."""
    if silence.state(now_ms) == "expired":
        return silence
    starts_ms = min(silence.starts_at_ms, now_ms)
    return replace(silence, starts_at_ms=starts_ms, ends_at_ms=now_ms, updated_at_ms=now_ms)
