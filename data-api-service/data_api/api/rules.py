"""Rules over HTTP: Prometheus' `rules` and `alerts`, and Mimir's routes that change them.

GET    /config/v1/rules[/{namespace}[/{group}]]   YAML                metrics:read
POST   /config/v1/rules/{namespace}               a group, or a file  admin
DELETE /config/v1/rules/{namespace}[/{group}]                         admin
"""

from functools import partial
from typing import Annotated, Any, Final

import anyio.to_thread
from fastapi import APIRouter, Depends, Request, Response

from data_api.api.deps import Admin, Asked, Caller, body_of, reader, services
from data_api.api.routing import answer, readable
from data_api.errors import BadRequest, InvalidParameter, NotFound
from data_api.rules import parsing, printing, views
from data_api.rules.model import Group
from data_api.rules.repository import FOLDER, ReadOnly, Rules

NAME_CHARACTERS_MAX: Final = 256
TRUTH: Final = {"": False, "true": True, "1": True, "false": False, "0": False}

routes = APIRouter(tags=["rules"], dependencies=[Depends(reader)])
config_routes = APIRouter(prefix="/config/v1/rules", tags=["rules"], dependencies=[Depends(reader)])


async def _rules(request: Request) -> Rules:
    return services(request).rules


async def _text(request: Request, _: Caller) -> str:
    """The body, which has at most as many bytes as a tenant's rules."""
    body = await body_of(request, services(request).rules.bounds.text_bytes)
    try:
        return body.decode()
    except UnicodeDecodeError as exc:
        raise BadRequest(detail=f"the body is not UTF-8 at byte {exc.start}") from exc


RulesDep = Annotated[Rules, Depends(_rules)]
Body = Annotated[str, Depends(_text)]


@readable(
    routes, "/rules", "type", "rule_name[]", "rule_group[]", "file[]", "match[]",
    "exclude_alerts", "group_limit", "group_next_token", post=False,
)  # fmt: skip
async def rules(ask: Asked, kept: RulesDep) -> Response:
    """The tenant's groups with their rules, their health and their alerts."""
    params = ask.params
    kind, limit, token = (params.get(n) for n in ("type", "group_limit", "group_next_token"))
    if kind not in {"", "alert", "record"}:
        raise InvalidParameter(name="type", reason=f'not supported value "{kind}"')
    if params.get("exclude_alerts").lower() not in TRUTH:
        raise InvalidParameter(name="exclude_alerts", reason="it must be true or false")
    if token and not limit:
        raise BadRequest(detail="group_limit needs to be set if group_next_token is")
    wanted = views.Wanted(
        kind,
        frozenset(params.all("rule_name[]")),
        frozenset(params.all("rule_group[]")),
        frozenset(params.all("file[]")),
        params.selectors().parse(),
        not TRUTH[params.get("exclude_alerts").lower()],
    )
    shown = await kept.shown(ask.caller.tenant)
    interval_ms = kept.bounds.interval_ms
    groups = await anyio.to_thread.run_sync(partial(views.groups, shown, wanted, interval_ms))
    data: dict[str, Any] = {"groups": groups}
    if number := params.limit("group_limit"):
        if (page := views.page(groups, number, token)) is None:
            raise InvalidParameter(name="group_next_token", reason="there is no such group")
        data["groups"], following = page
        if following:
            data["groupNextToken"] = following
    return answer(data)


@routes.get("/alerts")
async def alerts(caller: Caller, kept: RulesDep) -> Response:
    """The tenant's alerts that are pending or fire."""
    shown = await kept.shown(caller.tenant)
    return answer({"alerts": await anyio.to_thread.run_sync(views.alerts, shown)})


@routes.post("/rules/check")
async def check(text: Body, kept: RulesDep) -> Response:
    """What `promtool check rules` would say of the body, a rule file or one group; it is not
    stored.
    """
    groups: list[Group] = []
    faults: tuple[parsing.Fault, ...] = ()
    try:
        groups, _ = await _parsed(text, "check", kept)
    except parsing.InvalidRules as exc:
        faults = exc.facts["faults"]
    return answer(
        {
            "valid": not faults,
            "groups": len(groups),
            "rules": sum(len(group.rules) for group in groups),
            "faults": [
                {"line": one.line, "column": one.column, "text": one.text} for one in faults
            ],
            "warnings": list(parsing.duplicates(groups)),
        }
    )


@config_routes.get("")
@config_routes.get("/{namespace}")
async def groups(caller: Caller, kept: RulesDep, namespace: str | None = None) -> Response:
    """The groups of one namespace, or of all, by its name."""
    by_namespace: dict[str, list[Group]] = {}
    for one in await kept.shown(caller.tenant):
        if namespace in {None, one.group.namespace}:
            by_namespace.setdefault(one.group.namespace, []).append(one.group)
    if namespace is not None and not by_namespace:
        raise NotFound(namespace=namespace)
    return _yaml(await anyio.to_thread.run_sync(printing.namespaces_text, by_namespace))


@config_routes.get("/{namespace}/{group}")
async def one_group(namespace: str, group: str, caller: Caller, kept: RulesDep) -> Response:
    """One group."""
    for one in await kept.shown(caller.tenant):
        if (one.group.namespace, one.group.name) == (namespace, group):
            return _yaml(printing.group_text(one.group))
    raise NotFound(namespace=namespace, group=group)


@config_routes.post("/{namespace}")
async def set_groups(namespace: str, caller: Admin, text: Body, kept: RulesDep) -> Response:
    """The group of the body is there as it says; a rule file replaces the whole namespace."""
    _require_changeable(namespace)
    groups, is_file = await _parsed(text, namespace, kept)
    await kept.put(caller.tenant, namespace, groups, whole=is_file)
    return answer(None, 202)


@config_routes.delete("/{namespace}")
@config_routes.delete("/{namespace}/{group}")
async def delete(
    namespace: str, caller: Admin, kept: RulesDep, group: str | None = None
) -> Response:
    """The namespace or one group of it is gone; its series end, its alerts end by themselves."""
    _require_changeable(namespace)
    if not await kept.delete(caller.tenant, namespace, group):
        raise NotFound(namespace=namespace, **({} if group is None else {"group": group}))
    return answer(None, 202)


async def _parsed(text: str, namespace: str, kept: Rules) -> tuple[list[Group], bool]:
    """The groups of a body, and whether it is a whole file. Raises InvalidRules."""
    return await anyio.to_thread.run_sync(parsing.parse, text, namespace, kept.bounds)


def _require_changeable(namespace: str) -> None:
    if len(namespace) > NAME_CHARACTERS_MAX or "\0" in namespace:
        detail = "the namespace has a NUL, or too many characters"
        raise BadRequest(detail=detail, limit=NAME_CHARACTERS_MAX)
    if namespace.startswith(FOLDER):
        raise ReadOnly(namespace=namespace)


def _yaml(text: str) -> Response:
    return Response(text, media_type="application/yaml")
