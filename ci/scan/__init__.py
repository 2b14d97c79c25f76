"""The registry's findings as a gate."""
