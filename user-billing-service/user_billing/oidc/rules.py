"""What an ID token proves, and what follows from it. Pure.

Source: OpenID Connect Core 1.0 §3.1.3.7.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from user_billing.errors import BadInput, ProviderRefused
from user_billing.model import Role
from user_billing.oidc.providers import Provider
from user_billing.people.rules import normalise_email

LEEWAY_S = 60
SUBJECT_CHARACTERS_MAX = 255
GROUPS_MAX = 1_000

REASONS = {
    "cancelled": "The provider did not log you in.",
    "expired": "The log-in was begun too long ago or in another browser. Try again.",
    "provider": "The provider does not answer as it should. Try again, or ask your administrator.",
    "token": "The provider's answer could not be verified.",
    "unverified": "The provider does not vouch for your e-mail address.",
    "unknown": "There is no account for you here. Ask for an invitation.",
    "other_account": "This identity is linked to another account.",
    "disabled": "You cannot log in. Ask your administrator.",
    "session": "Log in again before you link an identity.",
    "busy": "Too many people are logging in right now. Try again.",
}
"""Why a log-in with a provider failed, as the log-in page says it."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What the provider says of a person. email: None unless the provider vouches for it."""

    subject: str
    email: str | None
    groups: frozenset[str]


def check(claims: Mapping[str, Any], provider: Provider, *, nonce: str, now: datetime) -> Claims:
    """What a token with a good signature says. Raises ProviderRefused for any claim amiss."""
    now_s = now.timestamp()
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    subject, party = claims.get("sub"), claims.get("azp")
    sent_nonce = str(claims.get("nonce", ""))
    faults = {
        "iss": claims.get("iss") != provider.issuer,
        "aud": not isinstance(audiences, list) or provider.client_id not in audiences,
        "azp": party != provider.client_id
        and (party is not None or (isinstance(audiences, list) and len(audiences) > 1)),
        "exp": not _is_time(claims.get("exp")) or claims["exp"] + LEEWAY_S <= now_s,
        "iat": not _is_time(claims.get("iat")) or claims["iat"] - LEEWAY_S > now_s,
        "nonce": not hmac.compare_digest(sent_nonce.encode(), nonce.encode()),
        "sub": not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX,
    }
    if amiss := [name for name, is_amiss in faults.items() if is_amiss]:
        raise ProviderRefused(reason="token", claims=",".join(amiss))
    groups = claims.get(provider.groups_claim, [])
    groups = [groups] if isinstance(groups, str) else groups
    return Claims(
        str(subject),
        _verified_email(claims),
        frozenset(map(str, groups[:GROUPS_MAX])) if isinstance(groups, list) else frozenset(),
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _verified_email(claims: Mapping[str, Any]) -> str | None:
    email = claims.get("email")
    if claims.get("email_verified") not in (True, "true") or not isinstance(email, str):
        return None
    try:
        return normalise_email(email)
    except BadInput:
        return None


def may_join(provider: Provider, claims: Claims) -> bool:
    """Whether the provider's word makes the person a member of its organisation."""
    domain = (claims.email or "").rpartition("@")[2]
    return domain != "" and domain in {allowed.lower() for allowed in provider.domains}


def wanted_role(provider: Provider, claims: Claims) -> Role | None:
    """The strongest role of the person's groups, else that of who is in none; None: no member."""
    mapped = {role for group, role in provider.roles.items() if group in claims.groups}
    by_strength = (Role.OWNER, Role.ADMIN, Role.VIEWER)
    return next((role for role in by_strength if role in mapped), provider.role)
