"""Decide, then do: each module joins decisions of `ci.delivery` with the tools of `ci.tools`."""
