"""Where the exemplars of OTLP's data points stand: a second pass, for requests that have any."""

import numpy as np

from data_ingest.chassis.jit import BYTES, I64_ROWS, I64_ROWS_OUT, int64, kernel
from data_ingest.kernels.otlp_points import DELTA, EXEMPLAR_TAGS, KIND, METRIC, POINT, POINT_END
from data_ingest.kernels.varint import next_field
from data_ingest.model import I64, U8


@kernel(int64(BYTES, I64_ROWS, I64_ROWS, I64_ROWS_OUT))
def find_exemplars(buf: U8, rows: I64, metrics: I64, spans: I64) -> int:
    """How many exemplars `spans` holds: (e, 3), the first row of the data point, start and end.

    buf, rows, metrics: of a message that `otlp.walk` passed. What does not fit is left out.
    """
    n = 0
    point = np.int64(-1)
    for row in range(rows.shape[0]):
        if rows[row, POINT] < 0 or rows[row, POINT] == point:
            continue
        p = point = rows[row, POINT]
        wanted = np.uint64(EXEMPLAR_TAGS[metrics[rows[row, METRIC], KIND] & ~DELTA])
        while p < rows[row, POINT_END]:
            tag, start, p = next_field(buf, p, rows[row, POINT_END])
            if tag == wanted:
                if n == spans.shape[0]:
                    return n
                spans[n, 0], spans[n, 1], spans[n, 2] = row, start, p
                n += 1
    return n
