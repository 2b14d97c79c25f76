"""Jobs in Postgres: asked for, claimed, run, kept, swept."""
