"""The table of cost pools."""

from sqlalchemy import BigInteger, Boolean, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from user_billing.db.tables import Instant, org_table

cost_pool = org_table(
    "cost_pool",
    key={"id": Uuid},
    needed={
        "name": Text, "over": Text, "starts_at": Instant, "ends_at": Instant,
        "amount": BigInteger, "currency": Text, "weights": JSONB, "spread": Boolean,
        "created_at": Instant,
    },
    optional={"closed_at": Instant, "shares": JSONB},
)  # fmt: skip
