"""OTLP/HTTP metrics: `decoder` reads a request, `answers` says what became of it.

    names ◀ attributes ◀ series      OpenTelemetry's words → labels and descriptions
    json_text, delta, described      JSON → protobuf; deltas → totals; descriptions now and then

What is chosen and what is refused: docs/adr/0017-otlp-metrics.md.
"""

from data_ingest.protocols.otlp.decoder import Options, protocol
from data_ingest.protocols.otlp.names import STYLES
from data_ingest.protocols.otlp.series import LabelOptions

__all__ = ["STYLES", "LabelOptions", "Options", "protocol"]
