"""The process around an app: it listens, and it leaves in the order that loses nobody a request.

    SIGTERM ─▶ /ready says 503 ─ drain_s ─▶ no new connections ─▶ requests finish ─▶ lifespan ends

SIGINT, or a second signal, leaves out the pause. /health stays 200 to the end.
"""

import asyncio
import signal
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from . import memory
from .probes import Drain
from .settings import ServiceSettings

# Over what clients keep (httpx 5 s, nginx 60 s): they close an idle connection, never we, so that
# no request meets a connection that is being closed.
KEEP_ALIVE_S: Final = 75
REQUESTS_FINISH_S: Final = 20
# A query string of 64 KiB passes. h11 bounds the whole head, httptools the address it takes apart.
REQUEST_HEAD_BYTES_MAX: Final = 256 * 1024
PARSED_ADDRESS_BYTES_MAX: Final = 65_535
GIVE_BACK_TICKS: Final = 100  # of a tenth of a second

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # uvicorn takes h11 then
    HTTP: type[asyncio.Protocol] | None = None
else:

    class LongAddresses(HttpToolsProtocol):
        """httptools, with a query string as long as the proxy in front lets it be."""

        def on_headers_complete(self) -> None:
            """The request begins; the query of a long address is set beside the parser."""
            if len(self.url) <= PARSED_ADDRESS_BYTES_MAX:
                super().on_headers_complete()
                return
            self.url, _, query = self.url.partition(b"?")
            super().on_headers_complete()
            self.scope["query_string"] = query

    HTTP = LongAddresses


class DrainingServer(uvicorn.Server):
    """Tells routers that it is stopping `drain_s` before it stops taking connections."""

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM drains; any other signal, or a second one, stops at once."""
        pause = sig == signal.SIGTERM and not self._drain.draining and self._drain_s > 0
        self._drain.draining = True
        if not pause:
            super().handle_exit(sig, frame)
            return
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_s, super().handle_exit, sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's; now and then the memory that requests have freed is given back."""
        if counter % GIVE_BACK_TICKS == 0:
            asyncio.get_running_loop().run_in_executor(None, memory.give_back)
        return await super().on_tick(counter)


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serves `app`, whose `state.services.drain` its probes share, until a signal ends it."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=REQUESTS_FINISH_S,
        http=HTTP or "h11",
        h11_max_incomplete_event_size=REQUEST_HEAD_BYTES_MAX,
    )
    DrainingServer(config, app.state.services.drain, settings.drain_s).run()
