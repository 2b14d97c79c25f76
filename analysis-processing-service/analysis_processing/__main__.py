"""`python -m analysis_processing`: the service on the host and port of its settings."""

from analysis_processing.chassis.serving import serve

if __name__ == "__main__":
    from analysis_processing.main import app, settings

    serve(app, settings)
