"""The same random documents on every machine and every day."""

from hypothesis import settings

settings.register_profile("manifests", derandomize=True, database=None, deadline=None)
settings.load_profile("manifests")
