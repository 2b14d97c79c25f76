"""One command line for everything that is done with CloudOpsHub."""

__version__ = "0.1.0"
