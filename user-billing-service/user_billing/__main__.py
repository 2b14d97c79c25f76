"""`python -m user_billing`: the service on the host and port of its settings."""


def main() -> None:
    """Serves until told to stop; exits with the reason when the settings are not complete."""
    from .main import app, settings  # noqa: PLC0415 - reads the environment
    from .serving import serve  # noqa: PLC0415 - after the settings were found complete

    serve(app, settings.host, settings.port, settings.ubs_drain_s)


if __name__ == "__main__":
    main()
