"""Compile every kernel into numba's cache."""

import importlib

for _name in ("windows", "grouping", "buckets"):
    importlib.import_module(f"{__package__}.{_name}")
