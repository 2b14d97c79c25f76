"""`python -m data_api`: the service on the host and port of its settings."""

import asyncio
from types import FrameType

import uvicorn

from .api.probes import Drain


class DrainingServer(uvicorn.Server):
    """Says that it is stopping on /ready for `drain_s` before it stops taking connections."""

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain, then stop. A second one stops at once."""
        if self._drain.draining or not self._drain_s:
            self._drain.draining = True
            super().handle_exit(sig, frame)
            return
        self._drain.draining = True
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_s, super().handle_exit, sig, frame)


def main() -> None:
    """Serves until told to stop; exits with the reason when the settings are not complete."""
    from .main import app, settings  # noqa: PLC0415 - reads the environment

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        # over what clients keep (httpx 5 s, nginx 60 s): they close an idle connection, never we
        timeout_keep_alive=75,
        access_log=False,
        timeout_graceful_shutdown=20,
    )
    DrainingServer(config, app.state.drain, settings.das_drain_s).run()


if __name__ == "__main__":
    main()
