"""Limits an organisation sets itself, forecasts of its usage, and a guard against mistakes."""
