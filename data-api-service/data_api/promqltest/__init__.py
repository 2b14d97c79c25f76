"""Unit tests of queries in Prometheus's own language: `python -m data_api.promqltest PATH…`."""
