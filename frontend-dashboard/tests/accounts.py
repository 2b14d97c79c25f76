"""The stand-in's ubs: a session, tokens and keys; unsafe cookie calls need the CSRF token.

Who may do what is tested on the real service, in the end-to-end tests of `ci`.
"""

from __future__ import annotations

import json
from typing import Any

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
}


def ubs(  # noqa: PLR0911 - a table of routes reads best as one match
    state: State, request: Request
) -> Answer:
    """What the contract says this request gets."""
    body: dict[str, Any] = json.loads(request.body) if request.body else {}
    if request.path == "/api/v1/setup":
        return 200, {"needed": False}, {}
    if request.path == "/api/v1/login":
        state.signed_in = True
        return 200, SESSION, {}
    if not state.signed_in:
        raise Refused(401, "unauthenticated", "no session")
    if request.method == "POST" and request.headers.get("x-csrf-token") != SESSION["csrf_token"]:
        raise Refused(403, "forbidden", "the CSRF token is missing or wrong")
    match request.method, request.path:
        case "GET", "/api/v1/session":
            return 200, SESSION, {}
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
