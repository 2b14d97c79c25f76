"""What can go wrong in `ci`, by what the caller should do about it.

    CiError
    ├── UsageError      2  asked for something that does not exist
    ├── Refused         3  a rule says no, and says which
    ├── OutsideFault    4  a tool, a port, a server; trying again may help
    └── Defect          5  the repository itself is wrong: a failed check, test or start

The exit code belongs to the class and to nothing else. `status` is the word for the same in
`--json`; facts are what a program would want to know besides the text.
"""

from typing import Any


class CiError(Exception):
    """Something `ci` was asked to do did not happen; the text is for a person."""

    exit_code = 5
    status = "defect"

    def __init__(self, text: str, *, status: str | None = None, **facts: Any) -> None:
        super().__init__(text)
        self.status = status or self.status
        self.facts = facts


class UsageError(CiError):
    """The command line names something that does not exist."""

    exit_code = 2
    status = "usage"


class Refused(CiError):
    """A rule forbids it."""

    exit_code = 3
    status = "refused"


class OutsideFault(CiError):
    """Something outside the repository failed."""

    exit_code = 4
    status = "outside_fault"


class Defect(CiError):
    """The repository is wrong."""
