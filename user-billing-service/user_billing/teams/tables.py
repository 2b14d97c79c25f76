"""Tables of teams, of versions of the rules, and of how hours were split by them."""

from sqlalchemy import BigInteger, Integer, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from user_billing.db.tables import Instant, org_table

team = org_table(
    "team",
    key={"id": Uuid},
    needed={"name": Text, "created_at": Instant},
    optional={"archived_at": Instant},
)

attribution_version = org_table(
    "attribution_version",
    key={"n": Integer},
    needed={"rules": JSONB, "faults": JSONB, "created_at": Instant, "created_by": Text},
)

attribution_hour = org_table(
    "attribution_hour",
    key={"hour": Instant},
    needed={"version": Integer, "revision": BigInteger, "shares": JSONB},
)
