"""Who belongs to an organisation, and in which role; invitations; further organisations."""

from dataclasses import dataclass, replace
from uuid import UUID

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import BadInput, Conflict, NotFound
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
    Principal,
    RevocationKind,
    Role,
)
from user_billing.organisations import rules as organisations_rules
from user_billing.organisations import sql as organisations_sql
from user_billing.organisations.service import create_organisation
from user_billing.people import rules as people_rules
from user_billing.people import sql as people_sql
from user_billing.people.proof import Proofs
from user_billing.revocations import sql as revocations_sql
from user_billing.sessions import sql as sessions_sql
from user_billing.sessions.service import OpenSession, Pending, Sessions

UPKEEP = Actor("upkeep")
NOT_OPEN = "the invitation is unknown, used or expired"


@dataclass(frozen=True)
class Members:
    """Changes of membership; each ends the sessions whose role it changed."""

    database: Database
    clock: Clock
    keyring: Keyring
    proofs: Proofs
    sessions: Sessions
    mail: Mail
    organisations_max: int

    def all(self, organisation_id: UUID) -> list[Member]:
        """The members, oldest first."""
        with self.database.organisation(organisation_id) as session:
            return sql.members(session, organisation_id)

    def change_role(self, principal: Principal, user_id: UUID, role: Role) -> Member:
        """The member has another role, and logs in anew. An organisation keeps an owner.

        Keys and invitations of theirs that go beyond the new role end.
        """
        return replace(self._change(principal, user_id, role), role=role)

    def remove(self, principal: Principal, user_id: UUID) -> None:
        """The person is no member, and their sessions here end. An organisation keeps an owner.

        Their keys end, but for those that only write metrics, and every open invitation by them
        or to them.
        """
        self._change(principal, user_id, None)

    def _change(self, principal: Principal, user_id: UUID, role: Role | None) -> Member:
        """The member as they were; from here on of that role (None: no member)."""
        now, org, actor = self.clock.now(), principal.tenant, principal.actor
        access.require_fresh(principal, now)
        with self.database.directory() as session:
            with within(session, org):
                before = self._member_for_change(session, org, user_id, principal, after=role)
                if before.role is role:
                    return before
                revoked = standing.change_member(session, org, before, role, actor=actor, now=now)
            sessions_sql.revoke(session, user_id, now, org=org)
            revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)
        return before

    def end_outgrown(self) -> int:
        """How many keys were revoked because their makers had left or been demoted.

        For installations of before this was done with the removal itself; each organisation is
        one transaction.
        """
        now, count = self.clock.now(), 0
        with self.database.directory() as session:
            organisations = organisations_sql.organisation_ids(session)
        for org in organisations:
            with self.database.directory() as session:
                with within(session, org):
                    organisations_sql.lock(session, org)
                    revoked = standing.end_outgrown(session, org, UPKEEP, now)
                revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)
            count += len(revoked)
        return count

    @staticmethod
    def _member_for_change(
        session: BoundSession, org: UUID, user_id: UUID, principal: Principal, *, after: Role | None
    ) -> Member:
        """The member as they are, with the organisation locked and the change allowed."""
        standing.require(session, principal)
        member = next((m for m in sql.members(session, org) if m.user_id == user_id), None)
        if member is None:
            raise NotFound(member=user_id)
        access.require_may_grant(principal, before=member.role, after=after)
        if after is not Role.OWNER:
            standing.require_other_owner(session, org, user_id)
        return member

    # Invitations

    def invitations(self, organisation_id: UUID) -> list[Invitation]:
        """The invitations that can be accepted now, newest first."""
        with self.database.organisation(organisation_id) as session:
            return sql.open_invitations(session, organisation_id, self.clock.now())

    def invite(self, principal: Principal, *, email: str, role: Role) -> tuple[Invitation, str]:
        """An open invitation for seven days, and its token at the only moment it is in the open.

        It replaces an earlier one to the same address. Where the hub sends mail, a letter with its
        link is on its way.
        """
        now, org, actor = self.clock.now(), principal.tenant, principal.actor
        access.require_fresh(principal, now)
        access.require_may_grant(principal, before=None, after=role)
        email, ends_at = people_rules.normalise_email(email), now + rules.INVITATION_LIFE
        invitation = Invitation(new_id(), org, email, role, ends_at, actor.subject)
        token = new_token()
        token_hash = self.keyring.token_hash("invitation", token)
        with self.database.directory() as session:
            organisation = organisations_sql.organisation(session, org)
            name = organisation.name if organisation else "an organisation"
            self.mail.write(session, "invitation", email, organisation=name, token=token)
            with within(session, org):
                standing.require(session, principal)
                if any(m.email == email for m in sql.members(session, org)):
                    raise Conflict(detail="this person is a member already")
                if sql.invitations_since(session, org, now - rules.ONE_DAY) >= rules.A_DAY_MAX:
                    raise Conflict(detail="too many invitations today", max=rules.A_DAY_MAX)
                sql.add_invitation(session, invitation, token_hash=token_hash, now=now)
                target = f"invitation:{invitation.id}"
                audit.record(session, org, actor, "invitation.created", target, now=now, role=role)
        return invitation, token

    def withdraw(self, principal: Principal, invitation_id: UUID) -> None:
        """The invitation can no longer be accepted. Raises NotFound when it was not open."""
        now, org, target = self.clock.now(), principal.tenant, f"invitation:{invitation_id}"
        with self.database.organisation(org) as session:
            if not sql.close_invitation(session, org, invitation_id, accepted=False, now=now):
                raise NotFound(invitation=invitation_id)
            audit.record(session, org, principal.actor, "invitation.revoked", target, now=now)

    def accept(self, token: str, password: str, client: Client) -> OpenSession | Pending:
        """A session in the inviting organisation, or the step before it; the invitation is spent.

        A person without an account gets one with this password; one with an account proves it with
        theirs. Raises NotFound for a token that is unknown, spent, withdrawn or expired.
        """
        now, token_hash = self.clock.now(), self.keyring.token_hash("invitation", token)
        with self.database.directory() as session:
            invitation = sql.invitation_by_token(session, token_hash, now)
            if invitation is None:
                raise NotFound(detail=NOT_OPEN)
            is_new = people_sql.login_of(session, invitation.email) is None
        email, org, role = invitation.email, invitation.organisation_id, invitation.role
        if is_new:
            with self.proofs.attempt(email, client) as attempt:
                people_rules.check_password(password, context=[email])
                password_hash = self.proofs.passwords.hash(password)
        else:
            with self.proofs.password(email, password, client) as proved:
                pass
        with self.database.directory() as session:
            if is_new:
                attempt.succeeded(session)
                person = people_sql.add_person(session, email, now, password_hash=password_hash)
                if person is None:
                    raise Conflict(detail="the account was made in this very moment: try again")
            else:
                proved.accept(session)
                person = proved.login.person
            actor = Actor(f"user:{person.id}", client.request_id)
            with within(session, org):
                if not sql.close_invitation(session, org, invitation.id, accepted=True, now=now):
                    raise NotFound(detail=NOT_OPEN)
                if not sql.add_member(session, org, person.id, role, now):
                    raise Conflict(detail="you are a member already")
                target = f"invitation:{invitation.id}"
                audit.record(session, org, actor, "invitation.accepted", target, now=now, role=role)
            return self.sessions.begin(
                session, person, now, client, by="password", organisation_id=org
            )

    # Further organisations

    def create_organisation(self, user_id: UUID, *, name: str, actor: Actor) -> Organisation:
        """A new organisation that the person owns; a person belongs to a bounded number of them."""
        name, most = organisations_rules.normalise_name(name, field="name"), self.organisations_max
        with self.database.directory() as session:
            people_sql.lock_person(session, user_id)
            if len(people_sql.memberships(session, user_id)) >= most:
                raise BadInput(detail="you belong to as many organisations as you may", max=most)
            return create_organisation(session, name, user_id, actor, self.clock.now())
