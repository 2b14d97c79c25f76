"""Decide, then do: each module joins the decisions of `ci.delivery` with the tools of `ci.tools`."""
