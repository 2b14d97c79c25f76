"""What is allowed: roles, scopes, names, passwords, waiting times. Pure.

Sources: docs/contracts.md §2 (roles and scopes); NIST SP 800-63B-4 §3.1.1 and §3.2.2 (passwords,
throttling); docs/adr/0002-identity.md (the numbers chosen here).
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from user_billing.errors import BadInput, LoginNotFresh, NotAllowed, WeakPassword
from user_billing.model import Audience, Principal, Role, Scope, Throttled

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
    Audience.DAS: {Audience.DIS: frozenset({Scope.METRICS_WRITE})},
}
"""Whom a service may address for a tenant, and with which scopes; another asks for nothing."""
BOOTSTRAP_KEY_SCOPES = (Scope.METRICS_WRITE, Scope.METRICS_READ, Scope.ANALYSIS_RUN)

PASSWORD_CHARACTERS_MIN = 15
PASSWORD_CHARACTERS_MAX = 256
"""Far above the 64 that NIST asks to permit; the bound keeps a request from buying CPU."""

FRESH_FOR = timedelta(hours=1)
SESSION_IDLE = timedelta(hours=24)
SESSION_ABSOLUTE = timedelta(days=30)
SEEN_RESOLUTION = timedelta(minutes=1)
INVITATION_LIFE = timedelta(days=7)

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@.\x00-\x1f\x7f]+(\.[^\s@.\x00-\x1f\x7f]+)*")
_RUNS = ("abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiopasdfghjklzxcvbnm")
_COMMON = frozenset(
    {
        "passwordpassword",
        "password123456",
        "password1234567",
        "password12345678",
        "password123456789",
        "adminadminadmin",
        "administrator123",
        "correcthorsebatterystaple",
        "correct horse battery staple",
        "iloveyouiloveyou",
        "letmeinletmeinletmein",
        "qwertyuiop123456",
        "1q2w3e4r5t6y7u8i9o",
        "1qaz2wsx3edc4rfv",
        "thisismypassword",
        "changemechangeme",
        "trustno1trustno1",
        "superman12345678",
        "welcome123456789",
        "zaq12wsxcde34rfv",
    }
)
_CONTEXT_WORDS = ("cloudopshub", "password")
_LEFT_OVER_MIN = 8


def normalise_email(text: str) -> str:
    """The address as it is stored and compared: NFC, trimmed, lower case.

    Raises BadInput when it is not `local@host` or longer than the 254 characters of RFC 5321.
    """
    email = unicodedata.normalize("NFC", text).strip().lower()
    if len(email) > 254 or not _EMAIL.fullmatch(email):
        raise BadInput(field="email", rule="a valid e-mail address")
    return email


def normalise_password(text: str) -> str:
    """The password as it is hashed: NFC, nothing trimmed, nothing cut."""
    return unicodedata.normalize("NFC", text)


def check_password(password: str, *, context: Iterable[str]) -> None:
    """Passes for a password that may be used; raises WeakPassword with the reason in words.

    context: words an attacker would try first (e-mail address, organisation). No composition rules
    and no expiry; length, a block-list and obvious patterns. Source: NIST SP 800-63B-4 §3.1.1.2.
    """
    text = normalise_password(password)
    if len(text) < PASSWORD_CHARACTERS_MIN:
        raise WeakPassword(
            detail=f"it has {len(text)} of at least {PASSWORD_CHARACTERS_MIN} characters"
        )
    if len(text) > PASSWORD_CHARACTERS_MAX:
        raise WeakPassword(
            detail=f"it has {len(text)} characters, and may have {PASSWORD_CHARACTERS_MAX}"
        )
    folded = text.casefold()
    if folded in _COMMON or _is_pattern(folded):
        raise WeakPassword(
            detail="it is a common password or an obvious pattern, which is guessed early"
        )
    for word in _context_words(context):
        if word in folded and len(folded.replace(word, "")) < _LEFT_OVER_MIN:
            raise WeakPassword(
                detail="it is mostly your address, your organisation or the product's name"
            )


def _context_words(context: Iterable[str]) -> Iterable[str]:
    yield from _CONTEXT_WORDS
    for text in context:
        folded = text.casefold().strip()
        candidates = (folded, folded.partition("@")[0])
        yield from (word for word in candidates if len(word) >= 4)


def _is_pattern(text: str) -> bool:
    """Whether `text` repeats a unit of up to 4 characters or walks along one row of `_RUNS`."""
    for width in range(1, 5):
        unit = text[:width]
        if (unit * (len(text) // width + 1))[: len(text)] == text:
            return True
    return any(text in row or text[::-1] in row for row in _RUNS)


def normalise_name(text: str, *, field: str) -> str:
    """A name for people to read: 1 to 100 characters, single spaces, no control characters."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(name) <= 100 or any(unicodedata.category(c) == "Cc" for c in name):
        raise BadInput(field=field, rule="1 to 100 printable characters")
    return name


def slug_of(name: str) -> str:
    """The name for addresses: lower-case ASCII letters, digits, single hyphens; never empty."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return (
        re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")[:48].strip("-") or "organisation"
    )


def parse_scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes named, without repetition, in the contract's order. Raises BadInput."""
    wanted = set(texts)
    if unknown := wanted - set(Scope):
        raise BadInput(field="scopes", unknown=sorted(unknown), known=[s.value for s in Scope])
    if not wanted:
        raise BadInput(field="scopes", rule="at least one scope", known=[s.value for s in Scope])
    return tuple(scope for scope in Scope if scope in wanted)


def parse_role(text: str) -> Role:
    """A role that a person can have. Raises BadInput."""
    if text not in {Role.OWNER, Role.ADMIN, Role.VIEWER}:
        raise BadInput(field="role", value=text, known=["owner", "admin", "viewer"])
    return Role(text)


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


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """How many failures are free, and how waiting grows after them.

    window_s: quiet time after which the count starts again. ceiling: failures after which the
    bucket closes for `ceiling_wait_s`.
    """

    free: int
    window_s: int
    wait_s_max: int
    ceiling: int
    ceiling_wait_s: int


PER_DEVICE = ThrottlePolicy(
    free=5, window_s=86_400, wait_s_max=900, ceiling=100, ceiling_wait_s=86_400
)
"""A browser that logged in to the account before; also one address at one account."""
PER_ACCOUNT = ThrottlePolicy(
    free=30, window_s=86_400, wait_s_max=900, ceiling=100, ceiling_wait_s=86_400
)
"""An account, from everywhere but those browsers."""
PER_ADDRESS = ThrottlePolicy(
    free=30, window_s=900, wait_s_max=900, ceiling=1_000, ceiling_wait_s=900
)
GLOBAL = ThrottlePolicy(free=1_000, window_s=60, wait_s_max=30, ceiling=100_000, ceiling_wait_s=30)


def wait_s(policy: ThrottlePolicy, failures: int) -> int:
    """Seconds a bucket stays closed after its `failures`-th failure in a row: 0, then 1, 2, 4, …"""
    if failures >= policy.ceiling:
        return policy.ceiling_wait_s
    if failures <= policy.free:
        return 0
    return min(policy.wait_s_max, 1 << min(failures - policy.free - 1, 30))


def after_attempt(policy: ThrottlePolicy, state: Throttled | None, now: datetime) -> Throttled:
    """The bucket after one more attempt, counted as a failure until it proves to be a success.

    Counting first means that parallel guesses cannot pass a closed door together.
    """
    quiet = state is None or (now - state.last_at).total_seconds() > policy.window_s
    failures = 1 if quiet or state is None else state.failures + 1
    pause = wait_s(policy, failures)
    return Throttled(failures, now, now + timedelta(seconds=pause) if pause else None)


def address_bucket(address: str) -> str:
    """The network an attempt is counted for: an IPv4 address, or the /64 of an IPv6 one.

    A single subscriber holds a whole /64, so anything narrower is no limit. Text that is no
    address (a Unix socket) is one bucket of its own.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def session_ends(created_at: datetime) -> datetime:
    """The instant at which a session ends whatever its use."""
    return created_at + SESSION_ABSOLUTE


def is_session_live(*, last_seen_at: datetime, expires_at: datetime, now: datetime) -> bool:
    """Whether a session is inside its idle and its absolute bound; both ends exclusive."""
    return now < expires_at and now - last_seen_at < SESSION_IDLE
