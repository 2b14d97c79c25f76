"""What Postgres's errors mean to a caller, by SQLSTATE: the same whichever driver brings them."""

from dataclasses import dataclass
from typing import ClassVar, Final

from .kinds import Kind, ServiceError

RETRY_AFTER_S: Final = 1
TOO_SLOW: Final = frozenset({"57014", "55P03"})  # query_canceled, lock_not_available
# undefined table, column, object; invalid schema name; invalid parameter value (an unknown role)
NOT_MIGRATED: Final = frozenset({"42P01", "42703", "42704", "3F000", "22023"})
# data, constraints, syntax and rights, limits of a program: repeating the statement changes nothing
MISTAKES: Final = frozenset({"22", "23", "42", "54"})


class DatabaseUnavailable(ServiceError):
    """Postgres cannot be used now"""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class DatabaseTooSlow(DatabaseUnavailable):
    """Postgres did not answer in time"""

    kind: ClassVar[Kind] = Kind.TIMEOUT


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema of ours, and the module that migrates it."""

    name: str
    migrated_by: str

    def not_migrated(self) -> DatabaseUnavailable:
        """The error that says so, and what to run."""
        detail = f"schema {self.name} is missing or old: run python -m {self.migrated_by}"
        return DatabaseUnavailable(detail=detail, retry_after_s=RETRY_AFTER_S)


def meaning(sqlstate: str | None, text: str, schema: Schema) -> DatabaseUnavailable | None:
    """Our error for a driver's; None when the statement or what is in it is at fault.

    sqlstate: None when there was no answer. text: the driver's; its first line is quoted.
    """
    if sqlstate in TOO_SLOW:
        return DatabaseTooSlow(retry_after_s=RETRY_AFTER_S)
    if sqlstate in NOT_MIGRATED:
        return schema.not_migrated()
    if sqlstate is not None and sqlstate[:2] in MISTAKES:
        return None
    first_line = (text.strip().splitlines() or ["the connection was lost"])[0]
    return DatabaseUnavailable(detail=first_line, retry_after_s=RETRY_AFTER_S)
