"""Sockets for Graphite and StatsD: their text becomes writes of the tenant of a configured key."""
