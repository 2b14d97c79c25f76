"""Log-in with an outside provider (OpenID Connect): identities linked to people.

    start ─▶ provider ─▶ callback ─▶ ID token verified ─▶ identity known? ──▶ its person logs in
                                                            │ no
              e-mail of an account ──▶ its password, once, links ┤
              allowed domain, nobody's e-mail ──▶ a new person ──┤
              else ──▶ refused, in words ────────────────────────┘
Authlib makes the request (PKCE, state, nonce); what is kept between start and callback is sealed
in a cookie of the browser that began. Decisions: docs/adr/0044-second-factors-and-oidc.md.
"""
