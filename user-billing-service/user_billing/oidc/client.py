"""A provider over HTTP: discovery, keys, and the exchange of a code. Every answer is bounded."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import httpx
import jwt

from user_billing.chassis.clock import Clock
from user_billing.errors import ProviderRefused
from user_billing.oidc.providers import Provider, is_safe_url

ANSWER_BYTES_MAX = 256 * 1024
ASK_S_MAX = 10.0
AT_ONCE = 4
KEPT_S = 3_600.0
REFETCH_S = 10.0
"""Keys are fetched again for an unknown one at most this often."""

SIGNATURE_ONLY: Any = {f"verify_{claim}": False for claim in ("exp", "iat", "nbf", "aud", "iss")}
"""Time, issuer and audience are checked with the other claims, by our own clock (rules.check)."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider publishes of itself, and when that was read."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    takes_basic: bool
    read_s: float


@dataclass
class ProviderClient:
    """Asks providers, a bounded number at once."""

    clock: Clock
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))
    _metadata: dict[str, Metadata] = field(default_factory=dict)
    _keys: dict[str, tuple[list[dict[str, Any]], float]] = field(default_factory=dict)

    def authorization_url(
        self, provider: Provider, redirect_uri: str, state: str, nonce: str, verifier: str
    ) -> str:
        """Where the browser goes. verifier: of PKCE; only its hash is sent."""
        # Half a MiB that a hub without providers does without.
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415

        with self._turn():
            endpoint = self._discover(provider).authorization_endpoint
        challenge = create_s256_code_challenge(verifier)
        url = prepare_grant_uri(
            endpoint, provider.client_id, "code", redirect_uri, provider.scopes, state,
            nonce=nonce, code_challenge=challenge, code_challenge_method="S256",
        )  # fmt: skip
        return str(url)

    def claims(
        self, provider: Provider, code: str, redirect_uri: str, verifier: str
    ) -> dict[str, Any]:
        """The claims of the ID token that the code is exchanged for; its signature is good."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        client_id, secret = provider.client_id, provider.client_secret.get_secret_value()
        with self._turn():
            metadata = self._discover(provider)
            auth = None
            if metadata.takes_basic:
                auth = httpx.BasicAuth(quote_plus(client_id), quote_plus(secret))
            else:
                form |= {"client_id": client_id, "client_secret": secret}
            answer = _ask("POST", metadata.token_endpoint, data=form, auth=auth)
            token = answer.get("id_token")
            if not isinstance(token, str):
                raise ProviderRefused(reason="token", detail="there is no ID token")
            return self._verified(provider, metadata, token)

    def _verified(self, provider: Provider, metadata: Metadata, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in provider.algorithms:
                raise ProviderRefused(reason="token", detail=f"it is signed with {algorithm}")
            jwk = self._signing_key(provider, metadata, header.get("kid"))
            if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
                raise ProviderRefused(reason="token", detail="its key is for something else")
            key = jwt.PyJWK(jwk, algorithm=algorithm).key
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=[algorithm], options=SIGNATURE_ONLY
            )
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as exc:
            raise ProviderRefused(reason="token", detail=type(exc).__name__) from exc
        return claims

    def _signing_key(
        self, provider: Provider, metadata: Metadata, kid: str | None
    ) -> dict[str, Any]:
        now_s = self.clock.now().timestamp()
        keys, read_s = self._keys.get(provider.name, ([], 0.0))
        match = _by_id(keys, kid)
        if now_s - read_s > (KEPT_S if match else REFETCH_S):
            keys = _ask("GET", metadata.jwks_uri).get("keys", [])
            if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
                raise ProviderRefused(reason="provider", detail="its keys cannot be read")
            self._keys[provider.name] = (keys, now_s)
            match = _by_id(keys, kid)
        if match is None:
            raise ProviderRefused(reason="token", detail="it is signed with an unknown key")
        return match

    def _discover(self, provider: Provider) -> Metadata:
        now_s = self.clock.now().timestamp()
        metadata = self._metadata.get(provider.name)
        if metadata is None or now_s - metadata.read_s > KEPT_S:
            url = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
            answer = _ask("GET", url)
            if answer.get("issuer") != provider.issuer:
                raise ProviderRefused(reason="provider", detail="it names another issuer")
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            urls = [str(answer.get(name, "")) for name in names]
            if not all(map(is_safe_url, urls)):
                raise ProviderRefused(reason="provider", detail="an endpoint is not https")
            methods = answer.get("token_endpoint_auth_methods_supported")
            takes_basic = not isinstance(methods, list) or "client_secret_basic" in methods
            metadata = Metadata(urls[0], urls[1], urls[2], takes_basic, now_s)
            self._metadata[provider.name] = metadata
        return metadata

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(blocking=False):
            raise ProviderRefused(reason="busy")
        try:
            yield
        finally:
            self._turns.release()


def _by_id(keys: list[dict[str, Any]], kid: str | None) -> dict[str, Any] | None:
    """The key of that id; without an id the only key there is."""
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.get("kid") == kid), None)


def _ask(method: str, url: str, **request: Any) -> dict[str, Any]:
    """The JSON object answered, within ANSWER_BYTES_MAX and ASK_S_MAX. Follows no redirect."""
    ends_s = time.monotonic() + ASK_S_MAX
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    body = bytearray()
    try:
        with (
            httpx.Client(timeout=5.0, follow_redirects=False) as http,
            http.stream(method, url, headers=headers, **request) as answer,
        ):
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX or time.monotonic() > ends_s:
                    raise ProviderRefused(reason="provider", detail="its answer is too long")
        content = httpx.Response(answer.status_code, content=bytes(body)).json()
    except (httpx.HTTPError, ValueError) as exc:
        raise ProviderRefused(reason="provider", detail=type(exc).__name__) from exc
    if answer.status_code != 200 or not isinstance(content, dict):
        raise ProviderRefused(reason="provider", detail=f"it answered {answer.status_code}")
    return content
