"""Asks a service over HTTP whether it is ready, without a thread or a library."""

import asyncio
import contextlib
import json
from urllib.parse import urlsplit


async def get(url: str, timeout_s: float = 3.0) -> tuple[int, bytes]:
    """Status and body of GET `url` (plain http); `OSError`, `TimeoutError` without an answer."""
    parts = urlsplit(url)
    assert parts.hostname
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        with contextlib.closing(writer):
            host = f"Host: {parts.netloc}\r\nConnection: close\r\n\r\n"
            writer.write(f"GET {parts.path or '/'} HTTP/1.0\r\n{host}".encode())
            answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError("not an HTTP answer")
    return int(words[1]), body


async def not_ready(url: str) -> str | None:
    """Why `url` is not ready; None when it answers 200."""
    try:
        status, body = await get(url)
    except TimeoutError:
        return "no answer in time"
    except OSError:
        return "not listening yet"
    return None if status == 200 else reason(status, body)


def reason(status: int, body: bytes) -> str:
    """The failed checks that a /ready answer names, else its status."""
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        checks = json.loads(body)["checks"]
        failed = [f"{name}: {c.get('detail')}" for name, c in checks.items() if not c.get("ok")]
        if failed:
            return "; ".join(failed)
    return f"answers {status}"
