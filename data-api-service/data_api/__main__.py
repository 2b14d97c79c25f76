"""`python -m data_api`: the service on the host and port of its settings."""

from data_api.chassis.serving import serve

if __name__ == "__main__":
    from data_api.main import app, settings

    serve(app, settings)
