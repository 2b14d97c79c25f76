"""Browser sessions of people."""
