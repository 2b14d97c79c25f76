"""Detectors that run by themselves: watches, what they remember, the events they see."""
