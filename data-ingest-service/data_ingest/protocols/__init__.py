"""How bytes become samples: one pure module for each protocol, named like its kernel.

`all_protocols` is the table: whoever adds a protocol adds a row here, and its routes are there.
"""

from data_ingest.protocols import firehose, influx, otlp, prometheus_push, remote_write
from data_ingest.protocols.protocol import WriteProtocol


def all_protocols(
    influx_naming: influx.Naming, otlp_options: otlp.Options
) -> tuple[WriteProtocol, ...]:
    """The rows; what of them depends on settings is given."""
    return (
        remote_write.PROTOCOL,
        prometheus_push.PUSH,
        prometheus_push.IMPORT,
        firehose.PROTOCOL,
        *influx.protocols(influx_naming),
        otlp.protocol(otlp_options),
    )
