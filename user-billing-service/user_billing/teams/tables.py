"""Tables of teams, of versions of the rules, and of how hours were split by them."""

from user_billing.db.tables import table

team = table("team", "org_id:uuid id:uuid", "name:text created_at:instant archived_at:instant?")

attribution_version = table(
    "attribution_version",
    "org_id:uuid n:int",
    "rules:json faults:json created_at:instant created_by:text",
)

attribution_hour = table(
    "attribution_hour",
    "org_id:uuid hour:instant",
    "version:int revision:big shares:json",
)
