"""Whether the store is still the one that was read before: asked in every snapshot.

Asked once a connection it would miss what changes behind one: a standby that is promoted, another
server behind a pooler. Nothing learnt is kept over a restart of the server, because its data folder
may have been set back to an earlier copy meanwhile, which nothing else shows: ids, transaction ids
and timeline of the copy are those of the original, and are then given again to other rows.
Source: docs/adr/0012-store-history.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from prometheus_client import Counter

FORGOTTEN: Final = Counter(
    "cloudopshub_store_forgotten_total",
    "Tenants of whom all that was read is dropped, as the store is another one; by what shows it.",
    ["reason"],
)


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Which store a snapshot is of. timeline: None on a standby."""

    system_identifier: int
    series_table: int | None
    timeline: int | None
    started_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """That of a row of `tables.SERIES_LISTING` or of a listing."""
        return cls(
            row["system_identifier"], row["series_table"], row["timeline"], row["started_at"]
        )

    def difference(self, other: "StoreIdentity") -> str:
        """Why rows of `other` may be missing here; empty when it is the same store."""
        if self.system_identifier != other.system_identifier:
            return "another_cluster"
        if self.series_table != other.series_table:
            return "schema_made_anew"
        if self.timeline != other.timeline:
            return "another_timeline"
        return "restarted" if self.started_at != other.started_at else ""


def reason_to_forget(row: Mapping[str, Any], known: StoreIdentity | None, watermark: int) -> str:
    """Why what was read before is not of the store of `row`; empty when it is.

    known, watermark: of the snapshot read last. row: of `tables.SERIES_LISTING` or of a listing.
    """
    if known and (reason := StoreIdentity.of(row).difference(known)):
        return reason
    # On one server it only grows.
    return "transaction_ids_went_back" if row["xmin"] < watermark else ""
