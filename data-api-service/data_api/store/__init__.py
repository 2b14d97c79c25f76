"""Read-only IO: Postgres catalogue and head, Parquet blocks, caches; postings are pure over arrays."""
