"""The write side of CloudOpsHub's metrics: from bytes to a committed batch, and on to blocks."""

__version__ = "0.1.0"
