"""Subscriptions: which plan version an organisation has when, and its billing periods."""
