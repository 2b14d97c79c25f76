"""`python -m data_ingest`: the service on the host and port of its settings."""

import asyncio
import signal
from types import FrameType

import uvicorn

from data_ingest.api.probes import Drain


class DrainingServer(uvicorn.Server):
    """On SIGTERM /ready turns 503 first; the listening socket closes a pause later, when routers
    have noticed.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM drains; SIGINT, or a second signal, stops at once."""
        if sig != signal.SIGTERM or self._drain.draining:
            super().handle_exit(sig, frame)
            return
        self._drain.draining = True
        asyncio.get_event_loop().call_later(self._drain_s, super().handle_exit, sig, frame)


def main() -> None:
    """Serves until told to stop; exits with the reason when the settings are not complete."""
    from data_ingest.main import app, drain, settings  # noqa: PLC0415 - reads the environment, compiles kernels

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        # over what clients keep (httpx 5 s, nginx 60 s): they close an idle connection, never we
        timeout_keep_alive=75,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=20,
    )
    DrainingServer(config, drain, settings.drain_s).run()


if __name__ == "__main__":
    main()
