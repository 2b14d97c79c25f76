"""`python -m data_ingest`: the service on the host and port of its settings."""

from data_ingest.chassis.serving import serve

if __name__ == "__main__":
    from data_ingest.main import app, settings

    serve(app, settings)
