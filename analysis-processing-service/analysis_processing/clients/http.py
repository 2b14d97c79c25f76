"""One request to another service, as its tenant, tried again only for IO trouble.

IO trouble is a transport error or a 429, 502, 503, 504; anything else is an answer, and asking
again would give the same one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import httpx

from analysis_processing.errors import Refused, Unreachable

Token = Callable[[], Awaitable[str]]
Sleep = Callable[[float], Awaitable[None]]

TRIES = 4
BACK_OFF_S = 0.25
WAIT_MAX_S = 10.0
TRANSIENT = frozenset({429, 502, 503, 504})
BODY_BYTES_MAX = 160 * 1024 * 1024
ERROR_BYTES_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Door:
    """Another service: its name for messages, its base URL, and a token of the tenant."""

    service: str
    base_url: str
    http: httpx.AsyncClient
    token: Token
    sleep: Sleep = anyio.sleep

    async def get(self, path: str, **request: Any) -> bytes:
        """The body of the 2xx answer; raises Refused or Unreachable."""
        return await self._ask("GET", path, request)

    async def post(self, path: str, **request: Any) -> bytes:
        """The body of the 2xx answer; raises Refused or Unreachable."""
        return await self._ask("POST", path, request)

    async def _ask(self, method: str, path: str, request: dict[str, Any]) -> bytes:
        trouble = ""
        for attempt in range(TRIES):
            if attempt:
                await self.sleep(self._wait_s(attempt, trouble))
            headers = {
                **request.get("headers", {}),
                "Authorization": f"Bearer {await self.token()}",
            }
            try:
                status, body, retry_after = await self._send(
                    method, path, {**request, "headers": headers}
                )
            except httpx.TransportError as exc:
                trouble = type(exc).__name__
                continue
            if 200 <= status < 300:
                return body
            if status not in TRANSIENT:
                raise Refused(service=self.service, status=status, detail=explain(body))
            trouble = f"{status} {retry_after}".strip()
        raise Unreachable(service=self.service, tries=TRIES, detail=trouble, retry_after_s=5)

    async def _send(
        self, method: str, path: str, request: dict[str, Any]
    ) -> tuple[int, bytes, str]:
        url = self.base_url.rstrip("/") + path
        async with self.http.stream(method, url, **request) as answer:
            parts, size = [], 0
            async for part in answer.aiter_bytes():
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise Refused(service=self.service, detail=f"more than {BODY_BYTES_MAX} bytes")
                parts.append(part)
            return answer.status_code, b"".join(parts), answer.headers.get("retry-after", "")

    @staticmethod
    def _wait_s(attempt: int, trouble: str) -> float:
        pause_s = trouble.partition(" ")[2]
        wait_s = BACK_OFF_S * 2.0 ** (2 * (attempt - 1))
        return min(max(wait_s, float(pause_s)) if pause_s.isdigit() else wait_s, WAIT_MAX_S)


def explain(body: bytes) -> str:
    """What the service said, as far as it can be told: its message, else its first bytes."""
    try:
        said = httpx.Response(200, content=body).json()
        return str(said.get("error") or said.get("detail") or said)[:ERROR_BYTES_SHOWN]
    except (ValueError, AttributeError):
        return body[:ERROR_BYTES_SHOWN].decode(errors="replace")
