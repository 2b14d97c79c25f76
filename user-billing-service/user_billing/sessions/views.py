"""The bodies of log-in and session."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from user_billing import access
from user_billing.api.bodies import Body, Unicode
from user_billing.model import Organisation, Person
from user_billing.sessions.service import OpenSession


class LogInBody(Body):
    """The log-in form."""

    email: Unicode
    password: Unicode


class CodeBody(Body):
    """The second step of a log-in; code: of the authenticator, or a recovery code."""

    challenge: Unicode
    code: Unicode


class PendingView(BaseModel):
    """A log-in that waits for a code; there is no session yet."""

    challenge: str
    needs: str = "code"
    expires_in_s: int


class OrganisationChoice(Body):
    """The organisation to go on in."""

    organisation_id: UUID


class ListedSessionView(BaseModel):
    """One of a person's live sessions; network and browser as they were when it was opened."""

    id: UUID
    org_id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    network: str | None
    browser: str | None
    current: bool = False


class SessionsView(BaseModel):
    """A person's live sessions, newest first."""

    sessions: list[ListedSessionView]


class SessionView(BaseModel):
    """The session, as the page needs it. suspended: why the organisation is, else None."""

    user: Person
    organisation: Organisation
    organisations: list[Organisation]
    role: str
    scopes: list[str]
    csrf_token: str
    must_enrol: bool
    """The organisation requires a second factor: it is all that this session may set up."""
    suspended: str | None

    @classmethod
    def of(cls, opened: OpenSession) -> Self:
        """The view of a session."""
        live = opened.live
        return cls(
            user=live.user,
            organisation=next(o for o in opened.organisations if o.id == live.organisation_id),
            organisations=opened.organisations,
            role=live.role,
            scopes=sorted(access.scopes_of(live)),
            csrf_token=opened.csrf_token,
            must_enrol=live.must_enrol,
            suspended=live.suspended,
        )
