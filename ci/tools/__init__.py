"""Thin adapters, one outside tool each; they hold no rules."""
