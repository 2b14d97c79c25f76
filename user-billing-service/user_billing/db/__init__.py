"""Postgres: tables, and the two kinds of transaction that may touch them."""
