"""`python -m analysis_processing`: the web process on the settings' host and port."""

from __future__ import annotations

import uvicorn

from analysis_processing.main import app, settings

if __name__ == "__main__":
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        # over what clients keep (httpx 5 s, nginx 60 s): they close an idle connection, never we
        timeout_keep_alive=75,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
