"""Work beside requests: scrape, compaction, upkeep. Each is a pure plan, then doing it."""
