"""Writes a manifest repository to start from."""
