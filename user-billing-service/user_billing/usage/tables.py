"""Hours of usage, and events of organisations' own meters: who sent what, distinct values by hour,
backfills.
"""

from sqlalchemy import BigInteger, Column, Integer, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from user_billing.db.tables import Instant, metadata, org_table

usage_event = org_table(
    "usage_event",
    key={"source": Text, "id": Text},
    needed={"meter": Text, "at": Instant, "value": Text, "received_at": Instant},
    optional={"backfill": Uuid},
)

usage_value = org_table(
    "usage_value", key={"meter": Text, "hour": Instant, "value": Text}, needed={}
)

usage_backfill = org_table(
    "usage_backfill",
    key={"id": Uuid},
    needed={"opened_at": Instant, "opened_by": Text, "expires_at": Instant},
    optional={"ended_at": Instant, "outcome": Text},
)

usage_hour = org_table(
    "usage_hour",
    key={"meter": Text, "hour": Instant, "source": Text},
    needed={
        "revision": BigInteger, "quantity": Numeric(38, 9), "minutes": ARRAY(Integer),
        "readings": BigInteger, "received_at": Instant,
    },
    optional={"latest_at": Instant},
)  # fmt: skip

usage_watermark = Table(
    "usage_watermark",
    metadata,
    Column("source", Text, primary_key=True),
    Column("complete_through", Instant, nullable=False),
)
