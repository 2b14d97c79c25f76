"""Alertmanager's API v2, as Grafana and amtool use it, and what is ours beside it.

Under `/alertmanager`. Reading needs `metrics:read`, changes `admin`.
Source: prometheus/alertmanager `api/v2/openapi.yaml`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final

import orjson
import re2
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse

from data_api import __version__
from data_api.api.deps import Admin, Caller, NowMs, body_of, services
from data_api.errors import InvalidParameter, NotFound
from data_api.model import Labels, MatchOp, compile_regex
from data_api.notify import matchers
from data_api.notify.service import Notifications, Seen, SeenGroup
from data_api.notify.state import Silence
from data_api.notify.times import rfc3339

COMPATIBLE_VERSION: Final = "0.28.1"
DELIVERIES_SHOWN: Final = 100
STATES: Final = {"active": 0, "pending": 1, "expired": 2}

routes = APIRouter(prefix="/alertmanager")


async def _notifications(request: Request) -> Notifications:
    return services(request).notifications


async def _body(request: Request, _: Admin) -> bytes:
    """The request's body, read only after its sender is known."""
    return await body_of(request)


async def _json(body: Annotated[bytes, Depends(_body)]) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidParameter(name="body", reason=f"it is not JSON: {exc}") from None


Notify = Annotated[Notifications, Depends(_notifications)]
Body = Annotated[bytes, Depends(_body)]
Json = Annotated[Any, Depends(_json)]
Filter = Annotated[list[str], Query(max_length=64)]


@routes.get("/-/ready", include_in_schema=False)
@routes.get("/-/healthy", include_in_schema=False)
async def ready() -> Response:
    """This process answers."""
    return PlainTextResponse("OK")


@routes.get("/api/v2/status")
async def status(caller: Caller, notify: Notify) -> Response:
    """The configuration, its secrets masked, and a version that clients take for Alertmanager's."""
    build = {"revision": f"cloudopshub-{__version__}", "branch": "", "buildUser": ""}
    return _answer(
        {
            "cluster": {"name": "cloudopshub", "status": "disabled", "peers": []},
            "versionInfo": {
                "version": COMPATIBLE_VERSION, **build, "buildDate": "", "goVersion": "",
            },
            "config": {"original": await notify.config_text(caller.tenant) or ""},
            "uptime": rfc3339(0),
        }
    )  # fmt: skip


@routes.get("/api/v2/receivers")
async def receivers(caller: Caller, notify: Notify) -> Response:
    """The names of receivers."""
    compiled = await notify.compiled(caller.tenant)
    return _answer([{"name": one.name} for one in compiled.config.receivers])


class Chosen:
    """Which alerts are asked for."""

    def __init__(
        self,
        filter: Filter = [],  # noqa: A002, B006 - Alertmanager's word; FastAPI copies it
        receiver: str = "",
        *,
        active: bool = True,
        silenced: bool = True,
        inhibited: bool = True,
        muted: bool = True,
    ) -> None:
        self._is_meant = _matching(filter)
        self._receiver = _pattern(receiver)
        self._shown = (active, silenced, inhibited, muted)

    def takes(self, one: Seen) -> bool:
        """Whether this alert is one of them."""
        active, silenced, inhibited, muted = self._shown
        is_active = one.state == "active" and not one.muted_by
        return (
            self._is_meant(one.received.alert.labels)
            and (not self._receiver or any(map(self._receiver, one.receivers)))
            and (active or not is_active)
            and (silenced or not one.silenced_by)
            and (inhibited or not one.inhibited_by)
            and (muted or not one.muted_by)
        )


Selected = Annotated[Chosen, Depends()]


@routes.get("/api/v2/alerts")
async def alerts(caller: Caller, notify: Notify, now_ms: NowMs, chosen: Selected) -> Response:
    """The alerts that fire, by fingerprint."""

    def show(_: Sequence[SeenGroup], seen: Sequence[Seen]) -> bytes:
        ordered = sorted(seen, key=lambda one: one.received.fingerprint)
        return orjson.dumps([_alert(one) for one in ordered if chosen.takes(one)])

    return _json_of(await notify.seen(caller.tenant, now_ms, show))


@routes.get("/api/v2/alerts/groups")
async def alert_groups(caller: Caller, notify: Notify, now_ms: NowMs, chosen: Selected) -> Response:
    """The same by group."""

    def show(groups: Sequence[SeenGroup], _: Sequence[Seen]) -> bytes:
        shown = [
            {
                "labels": group.labels,
                "receiver": {"name": group.receiver},
                "alerts": [_alert(one) for one in group.alerts if chosen.takes(one)],
            }
            for group in groups
        ]
        return orjson.dumps([group for group in shown if group["alerts"]])

    return _json_of(await notify.seen(caller.tenant, now_ms, show))


@routes.post("/api/v2/alerts")
async def post_alerts(caller: Admin, notify: Notify, now_ms: NowMs, given: Json) -> Response:
    """Alerts of other senders, as Prometheus posts them."""
    await notify.post_alerts(caller.tenant, given, now_ms)
    return Response()


@routes.get("/api/v2/silences")
async def silences(
    caller: Caller,
    notify: Notify,
    now_ms: NowMs,
    filter: Filter = [],  # noqa: A002, B006
) -> Response:
    """Active ones first, then those to come, then expired ones.

    filter: matchers, which a silence's own values of those labels fulfil.
    """
    is_meant = _matching(filter)
    rows = await notify.store.silences(caller.tenant)
    chosen = [one for one in rows if is_meant({m.name: m.value for m in one.matchers})]
    chosen.sort(key=lambda one: (STATES[one.state(now_ms)], one.ends_at_ms))
    return _answer([_silence(one, now_ms) for one in chosen])


@routes.post("/api/v2/silences")
async def put_silence(caller: Admin, notify: Notify, now_ms: NowMs, given: Json) -> Response:
    """A new silence, or with `id` a changed one."""
    silence_id = await notify.put_silence(caller.tenant, given, now_ms)
    return _answer({"silenceID": str(silence_id)})


@routes.get("/api/v2/silence/{name}")
async def silence(name: str, caller: Caller, notify: Notify, now_ms: NowMs) -> Response:
    """One silence."""
    return _answer(_silence(await notify.silence(caller.tenant, name), now_ms))


@routes.delete("/api/v2/silence/{name}")
async def expire_silence(name: str, caller: Admin, notify: Notify, now_ms: NowMs) -> Response:
    """It is over."""
    await notify.expire_silence(caller.tenant, name, now_ms)
    return Response()


@routes.get("/config")
async def config(caller: Caller, notify: Notify) -> Response:
    """The YAML, its secrets masked."""
    text = await notify.config_text(caller.tenant)
    if text is None:
        raise NotFound(detail="no configuration is set")
    return Response(text, media_type="application/yaml")


@routes.post("/config")
async def set_config(caller: Admin, notify: Notify, now_ms: NowMs, body: Body) -> Response:
    """This YAML from now on."""
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise InvalidParameter(name="body", reason=f"it is not UTF-8: {exc.reason}") from None
    await notify.set_config(caller.tenant, text, now_ms)
    return Response(status_code=201)


@routes.delete("/config")
async def delete_config(caller: Admin, notify: Notify, now_ms: NowMs) -> Response:
    """Nobody is told from now on."""
    await notify.set_config(caller.tenant, None, now_ms)
    return Response()


@routes.get("/deliveries")
async def deliveries(
    caller: Caller,
    notify: Notify,
    limit: Annotated[int, Query(ge=1, le=1000)] = DELIVERIES_SHOWN,
) -> Response:
    """Attempts to notify, newest first."""
    rows = await notify.store.deliveries(caller.tenant, limit)
    return _answer(
        {
            "deliveries": [
                {
                    "at": rfc3339(row["at_ms"]),
                    "id": str(row["outbox_id"]),
                    **{name: row[name] for name in (
                        "receiver", "integration", "group_key", "result", "attempt", "status",
                        "detail", "duration_ms", "alerts",
                    )},
                }
                for row in rows
            ]
        }
    )  # fmt: skip


@routes.post("/receivers/{name}/test")
async def test(name: str, caller: Admin, notify: Notify, now_ms: NowMs) -> Response:
    """A sample alert is sent to each integration of a receiver, once."""
    outcomes = await notify.test(caller.tenant, name, now_ms)
    results = [
        {
            "integration": key,
            "result": "delivered" if one.result == "delivered" else "failed",
            "status": one.status,
            "detail": one.detail,
        }
        for key, one in outcomes.items()
    ]
    return _answer({"results": results})


def _answer(value: Any) -> Response:
    return _json_of(orjson.dumps(value))


def _json_of(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _matching(filters: Iterable[str]) -> Callable[[Labels], bool]:
    return matchers.predicate(matchers.parse_all(filters))


def _pattern(text: str) -> Callable[[str], object] | None:
    try:
        return compile_regex(text).fullmatch if text else None
    except re2.error as exc:
        raise InvalidParameter(name="receiver", reason=str(exc)) from None


def _alert(one: Seen) -> dict[str, Any]:
    alert = one.received.alert
    state = {"silencedBy": one.silenced_by, "inhibitedBy": one.inhibited_by}
    return {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": rfc3339(alert.starts_at_ms),
        "endsAt": rfc3339(alert.ends_at_ms),
        "updatedAt": rfc3339(alert.updated_at_ms),
        "generatorURL": alert.generator_url,
        "fingerprint": one.received.fingerprint,
        "receivers": [{"name": name} for name in one.receivers],
        "status": {**state, "mutedBy": one.muted_by, "state": one.state},
    }


def _silence(one: Silence, now_ms: int) -> dict[str, Any]:
    return {
        "id": str(one.silence_id),
        "status": {"state": one.state(now_ms)},
        "matchers": [
            {
                "name": matcher.name,
                "value": matcher.value,
                "isRegex": matcher.op in {MatchOp.REGEX, MatchOp.NOT_REGEX},
                "isEqual": matcher.op in {MatchOp.EQUAL, MatchOp.REGEX},
            }
            for matcher in one.matchers
        ],
        "startsAt": rfc3339(one.starts_at_ms),
        "endsAt": rfc3339(one.ends_at_ms),
        "updatedAt": rfc3339(one.updated_at_ms),
        "createdBy": one.created_by,
        "comment": one.comment,
    }
