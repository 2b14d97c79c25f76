"""A real cost, split exactly over those who caused it."""
