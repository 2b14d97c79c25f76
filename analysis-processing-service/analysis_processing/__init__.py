"""Analysis jobs over a tenant's metrics: what is unusual, told causally and written back.

The web process (`python -m analysis_processing`) takes jobs and shows results; the worker
(`python -m analysis_processing.worker`) claims and runs them. Both keep all state in Postgres.
"""

__version__ = "0.1.0"
