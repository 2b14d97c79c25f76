"""Tables of quotas and of the guard."""

from user_billing.db.tables import table

quota = table(
    "quota",
    "org_id:uuid meter:text action:text",
    "limit_quantity:quantity thresholds:ints checked_at:instant interval_ms:int?",
)

alert_fired = table(
    "alert_fired",
    "org_id:uuid meter:text action:text period:instant threshold:int",
    "fired_at:instant",
)

cap = table("cap", "org_id:uuid", "since:instant min_interval_ms:int? blocked:text?")

anomaly = table(
    "anomaly",
    "org_id:uuid id:uuid",
    "meter:text kind:text state:text since:instant until:instant? expected:quantity "
    "actual:quantity series_factor:quantity?",
)
