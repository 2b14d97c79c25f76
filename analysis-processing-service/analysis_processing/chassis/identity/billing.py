"""The internal routes of user-billing-service (ubs), as this service calls them."""

from typing import Any

import httpx

from .principal import IdentityUnavailable


class Billing:
    """Requests to ubs with this service's own token."""

    def __init__(self, ubs_url: str, service_token: str, http: httpx.AsyncClient) -> None:
        self._url = ubs_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {service_token}"}
        self._http = http

    async def ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The JSON object ubs answers. Raises IdentityUnavailable when there is none."""
        try:
            answer = await self._http.request(
                method, self._url + path, headers=self._headers, timeout=5.0, **request
            )
            answer.raise_for_status()
            body: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise IdentityUnavailable(detail=type(exc).__name__, retry_after_s=1) from exc
        return body

    async def check(self) -> str:
        """A readiness check: ubs answered its health probe just now."""
        answer = await self._http.get(f"{self._url}/health", timeout=2.0)
        answer.raise_for_status()
        return "user-billing-service answers"
