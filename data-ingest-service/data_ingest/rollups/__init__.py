"""Rollups: what queries of long ranges need of each 5 minutes and each hour, in Parquet."""
