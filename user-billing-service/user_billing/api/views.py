"""The bodies of requests and answers: docs/contracts.md §2 and §6."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict

from user_billing.accounts import rules
from user_billing.accounts.sessions import OpenSession
from user_billing.model import ApiKey, AuditEvent, Invitation, Member, Organisation


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError("not valid Unicode: half of a surrogate pair") from exc
    return text


Unicode = Annotated[str, AfterValidator(_encodable)]
"""Text that has a UTF-8 form; JSON can write halves of surrogate pairs, which have none."""


class Body(BaseModel):
    """What a caller sends; an unknown field is an error, since it is a typing error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SetUpBody(Body):
    """The set-up form."""

    token: Unicode
    email: Unicode
    password: Unicode
    organisation: Unicode


class LogInBody(Body):
    """The log-in form."""

    email: Unicode
    password: Unicode


class OrganisationChoice(Body):
    """The organisation to go on in."""

    organisation_id: UUID


class TokenBody(Body):
    """The service a token is for."""

    audience: Unicode


class KeyBody(Body):
    """A key to make; expires_in_days None: until revoked."""

    name: Unicode
    scopes: list[Unicode]
    expires_in_days: int | None = None


class RoleBody(Body):
    """A member's new role."""

    role: Unicode


class InvitationBody(Body):
    """Whom to invite, as what."""

    email: Unicode
    role: Unicode


class AcceptBody(Body):
    """An invitation's token and the password of the new or existing account."""

    token: Unicode
    password: Unicode


class OrganisationBody(Body):
    """A further organisation."""

    name: Unicode


class IntrospectBody(Body):
    """The key a service was shown."""

    key: Unicode


class ServiceTokenBody(Body):
    """A token for a service that acts for a tenant."""

    tenant: UUID
    audience: Unicode
    scopes: list[Unicode]
    service: Unicode


class SetUpView(BaseModel):
    """Whether the installation waits for its owner."""

    needed: bool


class UserView(BaseModel):
    """A person."""

    id: UUID
    email: str


class OrganisationView(BaseModel):
    """An organisation."""

    id: UUID
    name: str
    slug: str

    @classmethod
    def of(cls, organisation: Organisation) -> Self:
        """The view of an organisation."""
        return cls(id=organisation.id, name=organisation.name, slug=organisation.slug)


class SessionView(BaseModel):
    """The session, as the page needs it."""

    user: UserView
    organisation: OrganisationView
    organisations: list[OrganisationView]
    role: str
    scopes: list[str]
    csrf_token: str

    @classmethod
    def of(cls, opened: OpenSession) -> Self:
        """The view of a session."""
        live = opened.live
        organisations = [OrganisationView.of(m.organisation) for m in opened.memberships]
        here = next(o for o in organisations if o.id == live.organisation_id)
        return cls(
            user=UserView(id=live.user.id, email=live.user.email),
            organisation=here,
            organisations=organisations,
            role=live.role.value,
            scopes=sorted(rules.ROLE_SCOPES[live.role]),
            csrf_token=opened.csrf_token,
        )


class TokenView(BaseModel):
    """An access token."""

    token: str
    expires_in_s: int


class KeyView(BaseModel):
    """A key without its secret."""

    id: UUID
    name: str
    start: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_by: str

    @classmethod
    def facts(cls, key: ApiKey, members: Iterable[Member]) -> dict[str, Any]:
        """The fields of the view of a key."""
        return {
            "id": key.id,
            "name": key.name,
            "start": key.start,
            "scopes": [scope.value for scope in key.scopes],
            "created_at": key.created_at,
            "last_used_at": key.last_used_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
            "created_by": display_name(key.created_by, members),
        }


class NewKeyView(KeyView):
    """A key with its secret, once."""

    key: str


class KeysView(BaseModel):
    """The keys of the organisation, newest first."""

    keys: list[KeyView]


class MemberView(BaseModel):
    """A member."""

    user_id: UUID
    email: str
    role: str
    joined_at: datetime

    @classmethod
    def of(cls, member: Member) -> Self:
        """The view of a member."""
        return cls(
            user_id=member.user_id,
            email=member.email,
            role=member.role.value,
            joined_at=member.joined_at,
        )


class MembersView(BaseModel):
    """The members, oldest first."""

    members: list[MemberView]


class InvitationView(BaseModel):
    """An open invitation."""

    id: UUID
    email: str
    role: str
    expires_at: datetime

    @classmethod
    def facts(cls, invitation: Invitation) -> dict[str, Any]:
        """The fields of the view of an invitation."""
        return {
            "id": invitation.id,
            "email": invitation.email,
            "role": invitation.role.value,
            "expires_at": invitation.expires_at,
        }


class NewInvitationView(InvitationView):
    """An invitation with its link, once."""

    link: str


class InvitationsView(BaseModel):
    """The open invitations, newest first."""

    invitations: list[InvitationView]


class AuditEventView(BaseModel):
    """An audit event."""

    seq: int
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str | None

    @classmethod
    def of(cls, event: AuditEvent, members: Iterable[Member]) -> Self:
        """The view of an event; people who are members appear by their address."""
        return cls(
            seq=event.seq,
            at=event.at,
            actor=display_name(event.actor, members),
            action=event.action,
            target=event.target,
            detail=event.detail,
            request_id=event.request_id,
        )


class AuditView(BaseModel):
    """A page of events, newest first."""

    events: list[AuditEventView]


def display_name(subject: str, members: Iterable[Member]) -> str:
    """The address of `user:<id>` when it is a member's; any other subject as it is stored."""
    emails = {f"user:{member.user_id}": member.email for member in members}
    return emails.get(subject, subject)
