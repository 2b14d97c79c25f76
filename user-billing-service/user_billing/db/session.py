"""The two kinds of transaction, and what each may see.

    database.organisation(org)   role cloudopshub_billing_app        rows of `org` only
    database.directory()         role cloudopshub_billing_directory  all organisations, few columns

The login itself (superuser in the embedded server, owner elsewhere) never runs a statement of ours:
row-level security ignores superusers and owners, so every transaction changes role before its first
statement. Role and organisation are set with `set_config(…, true)`, which ends with the
transaction; a session-level SET would follow the pooled connection to its next user, because the
pool resets by ROLLBACK alone. Traps and measurements: docs/adr/0002-identity.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, event, text
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session, SessionTransaction

from user_billing.chassis.clock import Clock
from user_billing.chassis.postgres import translating
from user_billing.db.tables import APP_ROLE, DIRECTORY_ROLE, SCHEMA
from user_billing.errors import BadInput

_ENTER = text("SELECT set_config('role', :role, true), set_config('app.org', :org, true)")
_AS_DIRECTORY = (
    f"SELECT set_config('role', '{DIRECTORY_ROLE}', true), set_config('app.org', '', true);"
)


class BoundSession(Session):
    """A session whose transactions start in a role, and in an organisation or in none."""

    def __init__(self, engine: Engine, organisation_id: UUID | None) -> None:
        super().__init__(engine)
        self.organisation_id = organisation_id

    def entry(self) -> dict[str, str]:
        """The role and setting that hold now."""
        if self.organisation_id is None:
            return {"role": DIRECTORY_ROLE, "org": ""}
        return {"role": APP_ROLE, "org": str(self.organisation_id)}


@event.listens_for(BoundSession, "after_begin")
def _enter(session: BoundSession, _transaction: SessionTransaction, connection: Connection) -> None:
    connection.execute(_ENTER, session.entry())


class Database:
    """Opens transactions; foreign errors leave it as ours."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._one_shot = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def organisation(self, organisation_id: UUID) -> Iterator[BoundSession]:
        """One transaction inside one organisation; commits at the end, rolls back on any error."""
        with self._transaction(organisation_id) as session:
            yield session

    @contextmanager
    def directory(self) -> Iterator[BoundSession]:
        """One transaction across organisations: log-in, look-ups by secret, keys to sign with.

        The narrow path: few columns, no row-level security; whoever may stay in one organisation
        uses `organisation`.
        """
        with self._transaction(None) as session:
            yield session

    def read_once(
        self, statement: str, parameters: Mapping[str, Any]
    ) -> Row[*tuple[Any, ...]] | None:
        """The one row of a directory read, in a single round trip; None without one.

        A string of several statements is one transaction of its own for Postgres, so the role set
        by the first holds for the second and ends with it. Halves the time of an introspection
        (benchmarks/bench_introspect.py).
        """
        with translating(SCHEMA), self._one_shot.connect() as connection:
            return connection.exec_driver_sql(_AS_DIRECTORY + statement, parameters).one_or_none()

    @contextmanager
    def _transaction(self, organisation_id: UUID | None) -> Iterator[BoundSession]:
        try:
            with (
                translating(SCHEMA),
                BoundSession(self.engine, organisation_id) as session,
                session.begin(),
            ):
                yield session
        except DataError as exc:  # a number too large for its column, a NUL in a path
            raise BadInput(detail=f"cannot be stored: {exc.orig}".splitlines()[0]) from exc


class Room:
    """What can be done with one noun: in transactions of `database`, at the time of `clock`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock


@contextmanager
def within(session: BoundSession, organisation_id: UUID) -> Iterator[BoundSession]:
    """Steps of a directory transaction that belong to one organisation.

    Inside the block the transaction has the rights of `organisation(organisation_id)`, no more.
    After an error it stays as it is: nothing but a rollback follows.
    """
    outer = session.organisation_id
    session.organisation_id = organisation_id
    session.execute(_ENTER, session.entry())
    yield session
    session.organisation_id = outer
    session.execute(_ENTER, session.entry())


def revision(engine: Engine) -> str:
    """The migration the database stands at. Raises DatabaseUnavailable without one."""
    with translating(SCHEMA), engine.connect() as connection:
        row = connection.execute(text("SELECT version_num FROM billing.alembic_version"))
        return str(row.scalar_one_or_none() or "none")
