"""Notifications: which alerts are told to whom, when, and that it happened.

    receive ─▶ alerts ─▶ plan (PURE: route, group, silence, inhibit, mute) ─▶ outbox ─▶ delivery
A tenant has Alertmanager's configuration, API and meaning. ADR 33.
"""
