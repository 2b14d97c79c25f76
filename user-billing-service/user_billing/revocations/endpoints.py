"""The log of revocations, for the services that verify offline. nginx never routes `/internal`."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from user_billing.api.bodies import rfc3339
from user_billing.api.deps import ServicesDep, Sister
from user_billing.revocations import sql
from user_billing.tokens import sql as tokens_sql

REVOCATIONS_PAGE = 1_000

REVOCATIONS_FIRST = timedelta(minutes=10)
"""Over twice a token's life."""


router = APIRouter(tags=["internal"], dependencies=[Sister])


@router.get("/internal/revocations")
def revocations(
    services: ServicesDep, after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None
) -> dict[str, Any]:
    """The revocation log above `after`, and the ids of the signing keys that hold.

    Without `after`, and for one the log has not reached (it was set back), the last ten minutes:
    all that a living token may be under.
    """
    with services.database.directory() as session:
        key_ids = tokens_sql.signing_key_ids(session)
        seq = sql.last_revocation(session)
        if after is None or after > seq:
            since = services.clock.now() - REVOCATIONS_FIRST
            rows = sql.revocations(session, REVOCATIONS_PAGE, since=since)
        else:
            rows = sql.revocations(session, REVOCATIONS_PAGE, after=after)
    if rows:
        # Rows committed since `seq` was read are among them; a full page ends below it.
        seq = rows[-1].seq if len(rows) == REVOCATIONS_PAGE else max(seq, rows[-1].seq)
    return {
        "seq": seq,
        "revocations": [
            {"seq": r.seq, "kind": r.kind, "ref": str(r.ref), "at": rfc3339(r.at)} for r in rows
        ],
        "signing_keys": key_ids,
    }
