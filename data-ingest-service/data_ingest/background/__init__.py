"""What happens after the acknowledgement: scrape, compaction, partitions, usage. A pure plan, then
doing it.
"""
