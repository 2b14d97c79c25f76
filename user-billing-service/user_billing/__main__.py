"""`python -m user_billing`: the service on the host and port of its settings."""

from user_billing.chassis.serving import serve

if __name__ == "__main__":
    from user_billing.main import app, settings

    serve(app, settings)
