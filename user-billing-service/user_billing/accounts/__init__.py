"""Organisations, people, sessions, keys, tokens and the audit of their changes.

Pure: rules, api_keys' format (key_format), audit_chain, identifiers, claims, origins.
Shell: a service module per noun (setup, sessions, keys, members, tokens, signing, audit), each call
one transaction; SQL lives in repository (inside one organisation) and directory (across them).
"""
