"""The write side of CloudOpsHub's metrics: requests to committed batches, batches to blocks."""

__version__ = "0.1.0"
