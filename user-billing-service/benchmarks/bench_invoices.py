"""Milliseconds a PDF: `PYTHONPATH=.:tests python benchmarks/bench_invoices.py [times]`.

Prints, for each golden document, the bytes and the median and 95th percentile of CPU time a
rendering, after the first, which makes the fonts.
"""

import json
import sys
import time
from statistics import quantiles

from golden_documents import documents

from user_billing.invoices import payload, pdf


def main() -> None:
    """One line a document."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for name, document in documents().items():
        stored = json.loads(payload.text(document))
        start = time.process_time()
        size = len(pdf.render(stored))
        first = (time.process_time() - start) * 1e3
        took = []
        for _ in range(times):
            start = time.process_time()
            pdf.render(stored)
            took.append((time.process_time() - start) * 1e3)
        cuts = quantiles(took, n=20)
        sys.stdout.write(
            f"{name:24} {size:7} bytes  first {first:6.0f} ms"
            f"  p50 {cuts[9]:5.1f} ms  p95 {cuts[18]:5.1f} ms\n"
        )


if __name__ == "__main__":
    main()
