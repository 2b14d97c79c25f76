"""`python -m data_ingest`: the service on the host and port of its settings."""


def main() -> None:
    """Serves until told to stop; exits with the reason when the settings are not complete."""
    from data_ingest.chassis.serving import serve  # noqa: PLC0415 - after the settings were found complete
    from data_ingest.main import app, settings  # noqa: PLC0415 - reads the environment, compiles kernels

    serve(app, settings.host, settings.port, settings.drain_s)


if __name__ == "__main__":
    main()
