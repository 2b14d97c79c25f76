"""The statements that every room has: one row, several, a page of them, added, put, changed.

`where` and `key` are columns and their values.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Table, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

PAGE_MAX: Final = 500
"""Rows of a page."""


def one(
    session: Session, table: Table, org: UUID, *, lock: bool = False, **where: Any
) -> Row[Any] | None:
    """The organisation's row with these values; locked until the end of the transaction."""
    statement = select(table).where(table.c.org_id == org).filter_by(**where)
    return session.execute(statement.with_for_update() if lock else statement).one_or_none()


def many(
    session: Session, table: Table, org: UUID, *order: str, **where: Any
) -> Sequence[Row[Any]]:
    """The organisation's rows with these values, in the order of these columns."""
    statement = select(table).where(table.c.org_id == org).filter_by(**where)
    return session.execute(statement.order_by(*(table.c[name] for name in order))).all()


def page(
    session: Session, table: Table, before: UUID | None, limit: int, *columns: str, **where: Any
) -> Sequence[Row[Any]]:
    """At most `limit` rows with an id below `before`, newest first; of all columns, or of these.

    where: values of None are not given for; without `org_id`, across organisations.
    """
    wanted: list[Any] = [table.c[name] for name in columns] or [table]
    given = {name: value for name, value in where.items() if value is not None}
    statement = select(*wanted).filter_by(**given).order_by(table.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(table.c.id < before)
    return session.execute(statement).all()


def next_page(rows: Sequence[Row[Any]], limit: int) -> UUID | None:
    """`before` of the page after these rows; None at the end."""
    return rows[-1].id if len(rows) == limit else None


def add(session: Session, table: Table, org: UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows are there."""
    if rows:
        session.execute(insert(table), [{"org_id": org, **row} for row in rows])


def put(session: Session, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """The row with that key has these values."""
    statement = upsert(table).values(**key, **values)
    session.execute(
        statement.on_conflict_do_update(constraint=table.primary_key, set_=dict(values))
    )


def change(session: Session, table: Table, where: Mapping[str, Any], **values: Any) -> None:
    """The rows with `where` have these values."""
    session.execute(update(table).filter_by(**where).values(**values))
