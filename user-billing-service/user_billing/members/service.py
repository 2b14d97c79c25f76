"""Who belongs to an organisation, and in which role; invitations; further organisations."""

from dataclasses import dataclass
from uuid import UUID

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadCredentials, BadInput, Conflict, NotFound
from user_billing.identifiers import new_id, new_token
from user_billing.keyring import Keyring
from user_billing.mail.service import Mail
from user_billing.members import rules, sql, standing
from user_billing.model import (
    Actor,
    Client,
    Invitation,
    Member,
    Organisation,
    Person,
    Principal,
    RevocationKind,
    Role,
)
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.organisations.service import create_organisation
from user_billing.people import rules as people_rules
from user_billing.people import sql as people_sql
from user_billing.people.passwords import Passwords
from user_billing.revocations import sql as revocations_sql
from user_billing.sessions import sql as sessions_sql
from user_billing.sessions.service import OpenSession, Pending, Sessions
from user_billing.throttle.service import Throttle

UPKEEP = Actor("upkeep")


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation at the only moment its token is in the open."""

    invitation: Invitation
    token: str


class Members:
    """Changes of membership; each ends the sessions whose role it changed."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keyring: Keyring,
        passwords: Passwords,
        throttle: Throttle,
        *,
        sessions: Sessions,
        mail: Mail,
        organisations_max: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._keyring = keyring
        self._passwords = passwords
        self._throttle = throttle
        self._sessions = sessions
        self._mail = mail
        self._organisations_max = organisations_max

    def all(self, organisation_id: UUID) -> list[Member]:
        """The members, oldest first."""
        with self._database.organisation(organisation_id) as session:
            return sql.members(session, organisation_id)

    def change_role(self, principal: Principal, user_id: UUID, role_name: str) -> Member:
        """The member has another role, and logs in anew. An organisation keeps an owner.

        Keys and invitations of theirs that go beyond the new role end.
        """
        role = access.parse_role(role_name)
        now = self._clock.now()
        access.require_fresh(principal, now)
        org = principal.tenant
        with self._database.directory() as session:
            with within(session, org):
                before = self._member_for_change(session, org, user_id, principal, after=role)
                if before.role is role:
                    return before
                sql.set_role(session, org, user_id, role)
                audit.record(
                    session,
                    org,
                    principal.actor,
                    "member.role_changed",
                    f"user:{user_id}",
                    now=now,
                    before=before.role.value,
                    after=role.value,
                )
                revoked = standing.end_outgrown(session, org, principal.actor, now)
            sessions_sql.revoke_member_sessions(session, user_id, org, now)
            revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)
        return Member(user_id, before.email, role, before.joined_at)

    def remove(self, principal: Principal, user_id: UUID) -> None:
        """The person is no member, and their sessions here end. An organisation keeps an owner.

        Their keys end, but for those that only write metrics, and every open invitation by them
        or to them.
        """
        now = self._clock.now()
        access.require_fresh(principal, now)
        org = principal.tenant
        with self._database.directory() as session:
            with within(session, org):
                before = self._member_for_change(session, org, user_id, principal, after=None)
                sql.remove_member(session, org, user_id)
                audit.record(
                    session,
                    org,
                    principal.actor,
                    "member.removed",
                    f"user:{user_id}",
                    now=now,
                    role=before.role.value,
                )
                revoked = standing.end_outgrown(
                    session, org, principal.actor, now, barred=before.email
                )
            sessions_sql.revoke_member_sessions(session, user_id, org, now)
            revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)

    def end_outgrown(self) -> int:
        """How many keys were revoked because their makers had left or been demoted.

        For installations of before this was done with the removal itself; each organisation is
        one transaction.
        """
        now, count = self._clock.now(), 0
        with self._database.directory() as session:
            organisations = organisations_sql.organisation_ids(session)
        for org in organisations:
            with self._database.directory() as session:
                with within(session, org):
                    organisations_sql.lock(session, org)
                    revoked = standing.end_outgrown(session, org, UPKEEP, now)
                revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)
            count += len(revoked)
        return count

    @staticmethod
    def _member_for_change(
        session: BoundSession,
        org: UUID,
        user_id: UUID,
        principal: Principal,
        *,
        after: Role | None,
    ) -> Member:
        """The member as they are, with the organisation locked and the change allowed."""
        standing.require(session, principal)
        members = sql.members(session, org)
        member = next((m for m in members if m.user_id == user_id), None)
        if member is None:
            raise NotFound(member=user_id)
        access.require_may_grant(principal, before=member.role, after=after)
        owners = sum(m.role is Role.OWNER for m in members)
        if member.role is Role.OWNER and after is not Role.OWNER and owners == 1:
            raise Conflict(detail="an organisation keeps at least one owner")
        return member

    # Invitations

    def invitations(self, organisation_id: UUID) -> list[Invitation]:
        """The invitations that can be accepted now, newest first."""
        with self._database.organisation(organisation_id) as session:
            return sql.open_invitations(session, organisation_id, self._clock.now())

    def invite(self, principal: Principal, *, email: str, role_name: str) -> NewInvitation:
        """An open invitation for seven days; it replaces an earlier one to the same address.

        Where the hub sends mail, a letter with its link is on its way.
        """
        now = self._clock.now()
        access.require_fresh(principal, now)
        role = access.parse_role(role_name)
        access.require_may_grant(principal, before=None, after=role)
        org = principal.tenant
        invitation = Invitation(
            new_id(),
            org,
            people_rules.normalise_email(email),
            role,
            now + rules.INVITATION_LIFE,
            principal.actor.subject,
        )
        token = new_token()
        with self._database.directory() as session:
            organisation = organisations_sql.organisation(session, org)
            name = organisation.name if organisation else "an organisation"
            letter = self._mail.letters.invitation(invitation.email, name, token)
            self._mail.put(session, letter)
            with within(session, org):
                standing.require(session, principal)
                if any(m.email == invitation.email for m in sql.members(session, org)):
                    raise Conflict(detail="this person is a member already")
                if sql.invitations_since(session, org, now - rules.ONE_DAY) >= rules.A_DAY_MAX:
                    raise Conflict(detail="too many invitations today", max=rules.A_DAY_MAX)
                sql.add_invitation(
                    session,
                    invitation,
                    token_hash=self._keyring.token_hash("invitation", token),
                    now=now,
                )
                audit.record(
                    session,
                    org,
                    principal.actor,
                    "invitation.created",
                    f"invitation:{invitation.id}",
                    now=now,
                    role=role.value,
                )
        return NewInvitation(invitation, token)

    def withdraw(self, principal: Principal, invitation_id: UUID) -> None:
        """The invitation can no longer be accepted. Raises NotFound when it was not open."""
        now = self._clock.now()
        org = principal.tenant
        with self._database.organisation(org) as session:
            closed = sql.close_invitation(session, org, invitation_id, accepted=False, now=now)
            if closed is None:
                raise NotFound(invitation=invitation_id)
            audit.record(
                session,
                org,
                principal.actor,
                "invitation.revoked",
                f"invitation:{invitation_id}",
                now=now,
            )

    def accept(
        self, *, token: str, password: str, client: Client, request_id: str | None
    ) -> OpenSession | Pending:
        """A session in the inviting organisation, or the step before it; the invitation is spent.

        A person without an account gets one with this password; one with an account proves it with
        theirs. Raises NotFound for a token that is unknown, spent, withdrawn or expired.
        """
        token_hash = self._keyring.token_hash("invitation", token)
        with self._database.directory() as session:
            invitation = sql.invitation_by_token(session, token_hash)
            if invitation is None or invitation.expires_at <= self._clock.now():
                raise NotFound(detail="the invitation is unknown, used or expired")
            login = people_sql.login_of(session, invitation.email)
        email = invitation.email
        with self._passwords.turn(known=self._throttle.device_of(email, client) is not None):
            attempt = self._throttle.admit(email=email, client=client)
            password_hash = None
            if login is None:
                people_rules.check_password(password, context=[email])
                password_hash = self._passwords.hash(password)
            elif login.is_disabled or not self._passwords.verify(login.password_hash, password):
                raise BadCredentials
        now = self._clock.now()
        with self._database.directory() as session:
            if login is not None and not people_sql.is_still(session, login):
                raise BadCredentials
            attempt.succeeded(session)
            person = login.person if login is not None else Person(new_id(), invitation.email)
            if password_hash is not None:
                added = people_sql.add_person(session, person, password_hash=password_hash, now=now)
                if added is None:
                    raise Conflict(detail="the account was made in this very moment: try again")
            org = invitation.organisation_id
            actor = Actor(f"user:{person.id}", request_id)
            with within(session, org):
                closed = sql.close_invitation(session, org, invitation.id, accepted=True, now=now)
                if closed is None:
                    raise NotFound(detail="the invitation is unknown, used or expired")
                if not sql.add_member(session, org, person.id, invitation.role, now):
                    raise Conflict(detail="you are a member already")
                audit.record(
                    session,
                    org,
                    actor,
                    "invitation.accepted",
                    f"invitation:{invitation.id}",
                    now=now,
                    role=invitation.role.value,
                )
            return self._sessions.begin(
                session,
                person,
                now,
                client=client,
                request_id=request_id,
                by="password",
                organisation_id=org,
            )  # fmt: skip

    # Further organisations

    def create_organisation(self, user_id: UUID, *, name: str, actor: Actor) -> Organisation:
        """A new organisation that the person owns; a person belongs to a bounded number of them."""
        name = organisations_rules.normalise_name(name, field="name")
        with self._database.directory() as session:
            people_sql.lock_person(session, user_id)
            if len(people_sql.memberships(session, user_id)) >= self._organisations_max:
                raise BadInput(
                    detail="you belong to as many organisations as you may",
                    max=self._organisations_max,
                )
            return create_organisation(
                session, name=name, owner_id=user_id, actor=actor, clock=self._clock
            )
