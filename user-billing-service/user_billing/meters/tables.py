"""The meters that organisations made."""

from sqlalchemy import Text

from user_billing.db.tables import Instant, org_table

meter = org_table(
    "meter",
    key={"code": Text},
    needed={"unit": Text, "aggregation": Text, "rule": Text, "created_at": Instant},
)
