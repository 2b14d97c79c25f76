"""The read side of the metric store: PromQL, labels, series, metadata and raw export over HTTP.

Samples are only read: schema `metrics` and the block objects belong to data-ingest-service. The
service keeps no state but caches of immutable things and, in schema `rules`, what rules remember:
any number of replicas may run, and any may be killed.
"""

__version__ = "0.1.0"
