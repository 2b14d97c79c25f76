"""What the sister services ask: docs/contracts.md §2. nginx never routes `/internal`."""

from datetime import datetime

from fastapi import APIRouter, Depends

from user_billing.api.deps import sister_service

router = APIRouter(prefix="/internal", tags=["internal"], dependencies=[Depends(sister_service)])


def rfc3339(at: datetime) -> str:
    """The instant in UTC, with a `Z`."""
    return at.isoformat().replace("+00:00", "Z")
