"""The only readers and writers of other services."""
