"""IO: what the service keeps in Postgres and in the object store."""
