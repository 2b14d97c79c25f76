"""The statements that every room has.

`where` and `key` are columns and their values.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table, delete, update
from sqlalchemy.orm import Session


def change(session: Session, table: Table, where: Mapping[str, Any], **values: Any) -> None:
    """The rows with `where` have these values."""
    session.execute(update(table).filter_by(**where).values(**values))


def drop(session: Session, table: Table, **where: Any) -> None:
    """The rows with these values are gone, in whatever organisations the role sees."""
    session.execute(delete(table).filter_by(**where))
