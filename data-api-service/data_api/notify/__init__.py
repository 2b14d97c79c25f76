"""Notifications: which alerts are told to whom, when, and that it happened. ADR 33.

receive ─▶ alerts (Postgres) ─▶ plan (PURE: route, group, silence, inhibit, mute) ─▶ outbox ─▶ delivery
"""
