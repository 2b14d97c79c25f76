"""`python -m user_billing`: the service, listening where the settings say."""

import uvicorn

from .main import app, settings

if __name__ == "__main__":
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        # over what clients keep (httpx 5 s, nginx 60 s): they close an idle connection, never we
        timeout_keep_alive=75,
        access_log=False,
        proxy_headers=False,  # X-Forwarded-For is read by our own rule: UBS_TRUSTED_PROXIES
        server_header=False,
    )
