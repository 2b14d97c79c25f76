"""An OpenID provider of the tests: real HTTP, real signatures, and every way to be wrong."""

import base64
import hashlib
import hmac
import json
import secrets
from urllib.parse import parse_qsl, unquote_plus, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "hub client", "s3cret:/+ with signs"


class StandIn:
    """Logs `person` in without asking. wrong: claims that replace or (None) remove the right ones.

    header: of the ID token. signing_key: it is signed with. metadata: what discovery
    says otherwise. unsaid: what the published key does not say of itself.
    """

    def __init__(self):
        self.issuer = ""
        self.clock = None
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self.app = FastAPI()
        self.app.get("/.well-known/openid-configuration")(self.discovery)
        self.app.get("/jwks")(self.jwks)
        self.app.get("/authorize")(self.authorize)
        self.app.post("/token")(self.token)
        self.reset()

    def reset(self):
        self.person, self.wrong, self.header = {}, {}, {"alg": "RS256", "kid": "one"}
        self.signing_key, self.metadata, self.codes, self.padding = self.key, {}, {}, 0
        self.unsaid = set()

    def discovery(self):
        urls = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        }
        return JSONResponse({**urls, **self.metadata, "padding": "x" * self.padding})

    def jwks(self):
        key = self.key.as_dict(private=False)
        return {"keys": [{name: key[name] for name in key if name not in self.unsaid}]}

    def authorize(self, request: Request):
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 302)

    async def token(self, request: Request):
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        scheme, _, credentials = request.headers["authorization"].partition(" ")
        user, _, password = base64.b64decode(credentials).decode().partition(":")
        right = (
            asked is not None
            and form["grant_type"] == "authorization_code"
            and asked["code_challenge"] == challenge
            and asked["redirect_uri"] == form["redirect_uri"]
            and (scheme, unquote_plus(user)) == ("Basic", CLIENT_ID)
            and unquote_plus(password) == CLIENT_SECRET
        )
        if not right:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now_s = int(self.clock.now().timestamp())
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": now_s, "exp": now_s + 300,
            "nonce": asked["nonce"], **self.person, **self.wrong,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)}

    def sign(self, claims):
        if self.header["alg"] == "none":
            parts = [b'{"alg":"none"}', json.dumps(claims).encode()]
            return ".".join(base64.urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts) + "."
        if self.header["alg"] == "HS256":  # the classic confusion: the public key as a secret
            parts = [json.dumps(part).encode() for part in (self.header, claims)]
            signed = b".".join(base64.urlsafe_b64encode(p).rstrip(b"=") for p in parts)
            mac = hmac.digest(self.key.as_pem(private=False), signed, "sha256")
            return f"{signed.decode()}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        return jwt.encode(self.header, claims, self.signing_key, algorithms=[self.header["alg"]])
