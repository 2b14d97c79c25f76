"""Heavy queries in processes of their own (docs/adr/0036-queries-in-processes.md).

    service ── pool.py ──one socket each──▶ worker: own store, one query at a time, nice, bounded
       └──────────────── a socket ────────▶ nursery: has imported all and loaded kernels; forks

Python lets one thread compute at a time: what a heavy query does in the service's own process,
every neighbour waits for. The last process ends some minutes after the last heavy query.
"""
