"""Tables of quotas and of the guard."""

from sqlalchemy import Integer, Numeric, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from user_billing.db.tables import Instant, org_table

_Quantity = Numeric(38, 9)

quota = org_table(
    "quota",
    key={"meter": Text, "action": Text},
    needed={
        "limit_quantity": _Quantity, "thresholds": ARRAY(Integer), "checked_at": Instant,
    },
    optional={"interval_ms": Integer},
)  # fmt: skip

alert_fired = org_table(
    "alert_fired",
    key={"meter": Text, "action": Text, "period": Instant, "threshold": Integer},
    needed={"fired_at": Instant},
)

cap = org_table(
    "cap",
    key={},
    needed={"since": Instant},
    optional={"min_interval_ms": Integer, "blocked": Text},
)

anomaly = org_table(
    "anomaly",
    key={"id": Uuid},
    needed={
        "meter": Text, "kind": Text, "state": Text, "since": Instant,
        "expected": _Quantity, "actual": _Quantity,
    },
    optional={"until": Instant, "series_factor": _Quantity},
)  # fmt: skip
