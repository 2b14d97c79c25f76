"""The versions of plans; the limits of a plan are in `organisations/tables.py`."""

from user_billing.db.tables import table

plan_version = table(
    "plan_version", "plan:text n:int",
    """currency:text recurring:minor minimum:minor prices:json created_at:instant
    retired_at:instant?""",
)  # fmt: skip
