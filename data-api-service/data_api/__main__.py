"""`python -m data_api`: the service on the host and port of its settings."""

import uvicorn


def main() -> None:
    """Serves until told to stop; exits with the reason when the settings are not complete."""
    from .main import app, settings  # noqa: PLC0415 - reads the environment

    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=20,
    )


if __name__ == "__main__":
    main()
