"""`python -m user_billing`: the service on the host and port of its settings."""


def main() -> None:
    """Serves until told to stop; exits with the reason when the settings are not complete."""
    from user_billing.chassis.serving import serve  # noqa: PLC0415 - after the settings were found complete
    from user_billing.main import app, settings  # noqa: PLC0415 - reads the environment

    serve(app, settings.host, settings.port, settings.ubs_drain_s)


if __name__ == "__main__":
    main()
