"""The stand-in's ubs: a session, tokens and keys; unsafe cookie calls need the CSRF token.

Who may do what is tested on the real service, in the end-to-end tests of `ci`.
"""

from __future__ import annotations

import json
from typing import Any

import billing
from contract import Answer, Refused, Request, State, iso

SESSION: dict[str, Any] = {
    "user": {"id": "8f2c1a7e-0000-4000-8000-000000000001", "email": "ada@example.org"},
    "organisation": {
        "id": "8f2c1a7e-0000-4000-8000-0000000000aa",
        "name": "Acme Observatory",
        "slug": "acme-observatory",
    },
    "organisations": [
        {
            "id": "8f2c1a7e-0000-4000-8000-0000000000aa",
            "name": "Acme Observatory",
            "slug": "acme-observatory",
        },
        {"id": "8f2c1a7e-0000-4000-8000-0000000000bb", "name": "Home Lab", "slug": "home-lab"},
    ],
    "role": "owner",
    "scopes": ["metrics:write", "metrics:read", "analysis:run", "billing:read", "admin"],
    "csrf_token": "csrf-of-the-session",
    "must_enrol": False,
}
QR = '<svg><path fill="#fff" d="M0 0h33v33h-33z"/><path class="qrline" d="M4 4.5h7m1 0h1"/></svg>'
PROVIDERS = {
    "providers": [{"name": "acme", "title": "Acme"}],
    "errors": {"unknown": "There is no account for you here. Ask for an invitation."},
}
KEY: dict[str, Any] = {
    "id": "k",
    "name": "agent",
    "start": "coh_live_9fK2",
    "scopes": ["metrics:write", "metrics:read"],
    "created_at": iso(0),
    "last_used_at": None,
    "expires_at": None,
    "revoked_at": None,
    "created_by": "ada@example.org",
}
LISTS: dict[str, dict[str, Any]] = {
    "/api/v1/members": {
        "members": [
            {"user_id": user, "email": f"{name}@example.org", "role": role, "joined_at": iso(0)}
            for user, name, role in (
                (SESSION["user"]["id"], "ada", "owner"),
                ("u2", "grace", "viewer"),
            )
        ]
    },
    "/api/v1/invitations": {
        "invitations": [
            {"id": "i", "email": "linus@example.org", "role": "viewer", "expires_at": iso(2**31)}
        ]
    },
    "/api/v1/sessions": {
        "sessions": [
            {
                "id": name,
                "created_at": iso(0),
                "last_seen_at": iso(0),
                "network": "192.0.2.0/24",
                "browser": "Firefox on Linux",
                "current": name == "here",
            }
            for name in ("here", "there")
        ]
    },
    "/api/v1/audit": {
        "events": [
            {
                "seq": 1,
                "at": iso(0),
                "actor": "ada@example.org",
                "action": "key.created",
                "target": "key:8f2c1a7e-0000-4000-8000-0000000000aa",
                "detail": {"scopes": ["metrics:write"]},
                "request_id": "r",
            }
        ]
    },
    **billing.ANSWERS,
}


def second_factor(state: State, request: Request) -> Answer:
    """Added, confirmed and turned off with any code."""
    match request.path.removeprefix("/api/v1/second-factor"), request.method:
        case "", "GET":
            since = iso(0) if state.second_factor else None
            return 200, {"confirmed_at": since, "recovery_codes_left": 10, "required": False}, {}
        case "", "POST":
            begun = {"secret": "JBSWY3DP", "otpauth": "otpauth://totp/ada?secret=JBSWY3DP"}
            return 201, {**begun, "qr_svg": QR}, {}
        case "/confirm", "POST":
            state.second_factor, state.must_enrol = True, False
            return 200, {"recovery_codes": ["aaaa-bbbb", "cccc-dddd"]}, {}
        case "/disable", "POST":
            state.second_factor = False
            return 204, None, {}
    raise Refused(404, "not_found", f"no route {request.method} {request.path}")


def sign_in(state: State, request: Request, body: dict[str, Any]) -> Answer:
    """The session; with a second factor a challenge first, and it for the code 123456."""
    if request.path == "/api/v1/login" and state.second_factor:
        return 202, {"challenge": "c", "needs": "code", "expires_in_s": 300}, {}
    if request.path == "/api/v1/login/code" and body != {"challenge": "c", "code": "123456"}:
        raise Refused(401, "unauthenticated", "the code is wrong")
    state.signed_in = True
    return 200, {**SESSION, "must_enrol": state.must_enrol}, {}


def at_the_door(state: State, request: Request, body: dict[str, Any]) -> Answer | None:
    """What needs no session; None for the rest."""
    if request.path == "/api/v1/setup":
        return 200, {"needed": False}, {}
    if request.path == "/api/v1/oidc":
        return 200, PROVIDERS, {}
    if request.path.startswith("/api/v1/login"):
        return sign_in(state, request, body)
    if request.path == "/api/v1/password/forgotten":
        raise Refused(409, "conflict", "this hub sends no mail: ask whoever runs it")
    if request.path in ("/api/v1/password/reset", "/api/v1/email/verify"):
        state.signed_in &= request.path != "/api/v1/password/reset"
        return 204, None, {}
    return None


def ubs(  # noqa: PLR0911 - a table of routes reads best as one match
    state: State, request: Request
) -> Answer:
    """What the contract says this request gets."""
    body: dict[str, Any] = json.loads(request.body) if request.body else {}
    if answer := at_the_door(state, request, body):
        return answer
    if not state.signed_in:
        raise Refused(401, "unauthenticated", "no session")
    if request.method == "POST" and request.headers.get("x-csrf-token") != SESSION["csrf_token"]:
        raise Refused(403, "forbidden", "the CSRF token is missing or wrong")
    match request.method, request.path:
        case "GET", "/api/v1/session":
            return 200, {**SESSION, "must_enrol": state.must_enrol}, {}
        case _, path if path.startswith("/api/v1/second-factor"):
            return second_factor(state, request)
        case "POST", "/api/v1/token":
            state.tokens_made += 1
            token = f"{body['audience']}.{state.tokens_made}"
            return 200, {"token": token, "expires_in_s": state.token_life_s}, {}
        case "GET", "/api/v1/keys":
            return 200, {"keys": state.keys}, {}
        case "POST", "/api/v1/keys":
            key = {**KEY, "id": str(len(state.keys)), "name": body["name"]}
            state.keys.append(key)
            return 201, {**key, "key": "coh_live_9fK2mQ7wXv3Rb8Tn1Ys6Lp4Dz0Hc5JgA0b1C2d"}, {}
        case "GET", path if path in LISTS:
            return 200, LISTS[path], {}
    raise Refused(404, "not_found", f"no route {request.method} {request.path}")
