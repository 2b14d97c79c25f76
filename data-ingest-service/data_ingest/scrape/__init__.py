"""Scraping: which targets there are, what is read of each, and what is written of it.

settings, file ─▶ targets ─▶ one loop each: page ─▶ series ─▶ pipeline.ingest ─▶ state
"""
