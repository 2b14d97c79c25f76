"""How bytes become samples: one pure module for each protocol, named like its kernel.

PROTOCOLS is the table: whoever adds a protocol adds a row here, and its routes are there. Where a
protocol has settings of its own (`otlp`), `app` makes its row from them.
"""

from typing import Final

from data_ingest.protocols import remote_write
from data_ingest.protocols.protocol import WriteProtocol

PROTOCOLS: Final[tuple[WriteProtocol, ...]] = (remote_write.PROTOCOL,)
