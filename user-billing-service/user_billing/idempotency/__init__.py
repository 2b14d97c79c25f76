"""A request that is sent again with the same `Idempotency-Key` is done once."""
