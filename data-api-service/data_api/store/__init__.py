"""Read-only IO: catalogue and head in Postgres, Parquet blocks, caches; postings are pure."""
