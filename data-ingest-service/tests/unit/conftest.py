"""How properties are tried here: the same examples on every run, and no clock in the verdict."""

from hypothesis import settings

settings.register_profile("unit", settings.default, derandomize=True, database=None, deadline=None)
settings.load_profile("unit")
