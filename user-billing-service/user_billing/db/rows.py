"""The statements that most rooms need: rows of one table, inside one organisation.

`key` names columns and their values; None is NULL.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, Row, Table, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from user_billing.errors import NotFound


def one(session: Session, table: Table, org: UUID, *, lock: bool = False, **key: object) -> Any:
    """The row with that key, or None; with `lock` nobody else changes it until the end."""
    statement = select(table).where(table.c.org_id == org).filter_by(**key)
    return session.execute(statement.with_for_update() if lock else statement).one_or_none()


def require(
    session: Session, table: Table, org: UUID, *, lock: bool = False, **key: object
) -> Row[Any]:
    """The row with that key. Raises NotFound."""
    row: Row[Any] | None = one(session, table, org, lock=lock, **key)
    if row is None:
        raise NotFound(what=table.name.replace("_", " "), **key)
    return row


def latest(
    session: Session, table: Table, org: UUID, limit: int, *order: ColumnElement[Any], **key: object
) -> Sequence[Row[Any]]:
    """At most `limit` rows with that key, by descending `order`, or else by descending id."""
    by = [column.desc() for column in order or (table.c.id,)]
    statement = select(table).where(table.c.org_id == org).filter_by(**key).order_by(*by)
    return session.execute(statement.limit(limit)).all()


def add(session: Session, table: Table, org: UUID, **values: object) -> None:
    """The row is there."""
    session.execute(insert(table).values(org_id=org, **values))


def add_new(session: Session, table: Table, org: UUID, **values: object) -> bool:
    """Whether the row is there by this call; False when one like it was."""
    statement = upsert(table).values(org_id=org, **values).on_conflict_do_nothing()
    return session.execute(statement.returning(table.c.org_id)).one_or_none() is not None


def put(
    session: Session, table: Table, org: UUID, key: Mapping[str, object], **values: object
) -> None:
    """The row with that primary key is there, and has these values."""
    statement = upsert(table).values(org_id=org, **key, **values)
    session.execute(statement.on_conflict_do_update(constraint=table.primary_key, set_=values))


def change(
    session: Session,
    table: Table,
    org: UUID,
    key: Mapping[str, object],
    *where: ColumnElement[bool],
    **values: object,
) -> Sequence[Row[Any]]:
    """The rows with that key, as they are with these values."""
    statement = update(table).where(table.c.org_id == org, *where).filter_by(**key)
    return session.execute(statement.values(**values).returning(*table.c)).all()


def remove(session: Session, table: Table, org: UUID, **key: object) -> int:
    """How many rows had that key; they are gone."""
    statement = delete(table).where(table.c.org_id == org).filter_by(**key)
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
