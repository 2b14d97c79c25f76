"""What is stored of a person, in their hands; and a person who is no more than an id."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import BoundSession, Database, within
from user_billing.errors import NotFound
from user_billing.factors import sql as factors_sql
from user_billing.keys import sql as keys_sql
from user_billing.mail.service import Mail
from user_billing.members import standing
from user_billing.model import Membership, Principal, RevocationKind
from user_billing.oidc import sql as oidc_sql
from user_billing.organisations import sql as organisations_sql
from user_billing.people import sql
from user_billing.revocations import sql as revocations_sql
from user_billing.sessions import sql as sessions_sql

ACCOUNT = ("id", "email", "created_at", "email_verified_at")
EVENTS_MAX = 1_000
"""Of an export, for each organisation, the newest."""


@dataclass(frozen=True)
class Privacy:
    """The rights of people over what is stored of them."""

    database: Database
    clock: Clock
    mail: Mail

    def export(self, user_id: UUID) -> dict[str, Any]:
        """Everything that is stored of the person, without secrets."""
        with self.database.directory() as session:
            account = sql.account(session, user_id)
            if account is None:
                raise NotFound(person=user_id)
            sessions = sessions_sql.live_sessions(session, user_id, self.clock.now())
            factor = factors_sql.factor_of(session, user_id)
            codes_left = factors_sql.recovery_codes_left(session, user_id)
            return {
                "account": {field: getattr(account, field) for field in ACCOUNT},
                "organisations": [
                    self._place(session, membership, f"user:{user_id}")
                    for membership in sql.memberships(session, user_id)
                ],
                "sessions": [dict(row) for row in sessions],
                "second_factor": factor
                and {"confirmed_at": factor.confirmed_at, "recovery_codes_left": codes_left},
                "identities": [asdict(one) for one in oidc_sql.identities(session, user_id)],
            }

    @staticmethod
    def _place(session: BoundSession, membership: Membership, subject: str) -> dict[str, Any]:
        org = membership.organisation
        with within(session, org.id):
            keys = keys_sql.keys(session, org.id, made_by=subject)
            return {
                "id": org.id,
                "name": org.name,
                "role": membership.role.value,
                "keys": [{"id": k.id, "name": k.name, "created_at": k.created_at} for k in keys],
                "events": sql.events_of(session, org.id, subject, EVENTS_MAX),
            }

    def erase(self, caller: Principal, user_id: UUID) -> None:
        """The person is an id: address, credentials, sessions and memberships are gone.

        Audit events keep the id, documents stay. Raises NotFound; Conflict for the only owner of
        an organisation, who hands it over first. Who erases themselves has just proved it.
        """
        now, subject = self.clock.now(), f"user:{user_id}"
        if user_id != caller.user_id:
            access.require_fresh(caller, now)
        with self.database.directory() as session:
            sql.lock_person(session, user_id)
            account = sql.account(session, user_id)
            if account is None:
                raise NotFound(person=user_id)
            revoked: list[UUID] = []
            for org in sorted(m.organisation.id for m in sql.memberships(session, user_id)):
                with within(session, org):
                    organisations_sql.lock(session, org)
                    standing.require_other_owner(session, org, user_id)
                    rows.drop(session, t.membership, org_id=org, user_id=user_id)
                    audit.record(session, org, caller.actor, "person.erased", subject, now=now)
                    revoked += standing.end_outgrown(
                        session, org, caller.actor, now, barred=account.email
                    )
            rows.drop(session, t.credential, user_id=user_id)
            rows.drop(session, t.challenge, user_id=user_id)
            factors_sql.remove(session, user_id)
            rows.drop(session, t.identity, user_id=user_id)
            sql.drop_tokens(session, user_id)
            self.mail.forget(session, account.email)
            nobody = f"erased-{user_id}@invalid"
            sql.forget_address(session, account.email.lower(), instead=nobody)
            values = {"email": nobody, "email_verified_at": None, "disabled_at": now}
            rows.change(session, t.user_account, {"id": user_id}, **values)
            sessions_sql.revoke(session, user_id, now)
            rows.drop(session, t.session, user_id=user_id)
            revocations_sql.log_revocations(session, RevocationKind.KEY, revoked, now)
