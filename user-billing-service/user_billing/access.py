"""Who may do what: roles, scopes, and what a caller may give to others. Pure.

Source: docs/contracts.md §2.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from user_billing.errors import BadInput, LoginNotFresh, NotAllowed
from user_billing.model import Audience, LiveSession, Principal, Role, Scope

ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    Role.OWNER: frozenset(Scope),
    Role.ADMIN: frozenset(Scope),
    Role.VIEWER: frozenset({Scope.METRICS_READ, Scope.BILLING_READ}),
    Role.SERVICE: frozenset(),
}

ORGANISATIONS_SCOPES = frozenset({Scope.METRICS_WRITE})
"""What a key may do whose maker may do nothing any more."""

SERVICE_MAY: dict[Audience, dict[Audience, frozenset[Scope]]] = {
    Audience.APS: {
        Audience.DAS: frozenset({Scope.METRICS_READ}),
        Audience.DIS: frozenset({Scope.METRICS_WRITE}),
    },
    Audience.DAS: {Audience.DIS: frozenset({Scope.METRICS_READ, Scope.METRICS_WRITE})},
}
"""Whom a service may address for a tenant, and with which scopes; another asks for nothing."""

WHILE_SUSPENDED = frozenset({Scope.BILLING_READ})
"""What the people of a suspended organisation may do there: read what it owes."""

FRESH_FOR = timedelta(hours=1)


def scopes_of(live: LiveSession) -> frozenset[Scope]:
    """What a person may do in the organisation of the session now."""
    scopes = ROLE_SCOPES[live.role]
    return scopes if live.suspended is None else scopes & WHILE_SUSPENDED


def parse_scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes named, without repetition, in the contract's order. Raises BadInput."""
    wanted = set(texts)
    if unknown := wanted - set(Scope):
        raise BadInput(field="scopes", unknown=sorted(unknown), known=[s.value for s in Scope])
    if not wanted:
        raise BadInput(field="scopes", rule="at least one scope", known=[s.value for s in Scope])
    return tuple(scope for scope in Scope if scope in wanted)


def require_scope(principal: Principal, *scopes: Scope) -> None:
    """Passes when the caller has one of `scopes`; raises NotAllowed naming them."""
    if principal.scopes.isdisjoint(scopes):
        raise NotAllowed(needs=" or ".join(scopes))


def require_fresh(principal: Principal, now: datetime) -> None:
    """Passes for keys and tokens of machines, and for people who logged in within the last hour."""
    session = principal.session
    if session is not None and now - session.fresh_at > FRESH_FOR:
        raise LoginNotFresh


def require_may_grant(principal: Principal, *, before: Role | None, after: Role | None) -> None:
    """Passes when the caller may turn role `before` into `after` (None: not a member).

    Only an owner makes, changes or removes an owner; an API key is never an owner. A key makes
    nobody who may do more than itself, or for longer: a member has no end.
    """
    if Role.OWNER in {before, after} and principal.role is not Role.OWNER:
        raise NotAllowed(needs="role owner")
    gained = _scopes(after) - _scopes(before)
    require_grantable(principal, gained)
    if gained and principal.expires_at is not None:
        raise NotAllowed(needs="a key that does not expire, since members do not")


def require_grantable(principal: Principal, scopes: Iterable[Scope]) -> None:
    """Passes when the caller has every scope it would give away: no key makes a stronger key."""
    if missing := set(scopes) - principal.scopes:
        raise NotAllowed(needs=" and ".join(sorted(missing)))


def require_no_longer_life(principal: Principal, expires_at: datetime | None) -> None:
    """Passes when a key that ends then (None: never) does not outlive the key that makes it."""
    ends = principal.expires_at
    if ends is not None and (expires_at is None or expires_at > ends):
        raise NotAllowed(needs="a key that lives as long", this_key_expires_at=ends.isoformat())


def require_service_may(service: Audience, audience: Audience, scopes: Iterable[Scope]) -> None:
    """Passes when `service` needs such a token for its work; raises NotAllowed."""
    if missing := set(scopes) - SERVICE_MAY.get(service, {}).get(audience, frozenset()):
        lacking = " and ".join(sorted(missing))
        raise NotAllowed(needs=f"the right of {service} to ask for {lacking} at {audience}")


def may_outlive(scopes: Iterable[Scope], role: Role | None) -> bool:
    """Whether a key with `scopes` stays when its maker has `role` now (None: left)."""
    return set(scopes) <= _scopes(role) | ORGANISATIONS_SCOPES


def may_invite(role: Role | None, invited: Role) -> bool:
    """Whether a person of `role` (None: no member) may invite somebody as `invited`."""
    return Scope.ADMIN in _scopes(role) and (invited is not Role.OWNER or role is Role.OWNER)


def _scopes(role: Role | None) -> frozenset[Scope]:
    return frozenset() if role is None else ROLE_SCOPES[role]
