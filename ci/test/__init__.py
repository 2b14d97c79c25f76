"""Every folder's own pytest, one summary."""
