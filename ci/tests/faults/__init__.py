"""A running hub is killed, frozen and fed nonsense, while a ledger keeps what it acknowledged."""
