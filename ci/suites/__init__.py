"""`make test`: every folder's tests in its own environment, one closing summary."""
