"""API keys of organisations."""
