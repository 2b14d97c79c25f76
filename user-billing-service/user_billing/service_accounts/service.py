"""Service accounts: made, listed, disabled with all their keys."""

from dataclasses import dataclass
from uuid import UUID

from user_billing import access
from user_billing.audit import service as audit
from user_billing.chassis.clock import Clock
from user_billing.db.session import Database, within
from user_billing.errors import BadInput, NotAllowed, NotFound
from user_billing.identifiers import new_id
from user_billing.keys import sql as keys_sql
from user_billing.members import sql as members_sql
from user_billing.members import standing
from user_billing.members.rules import by_address
from user_billing.model import Principal, RevocationKind, ServiceAccount
from user_billing.organisations import rules as organisations_rules
from user_billing.revocations import sql as revocations_sql
from user_billing.service_accounts import sql

ACCOUNTS_MAX = 500


@dataclass(frozen=True)
class ServiceAccounts:
    """The life of service accounts."""

    database: Database
    clock: Clock

    def all(self, organisation_id: UUID) -> list[ServiceAccount]:
        """Every account of the organisation, newest first."""
        with self.database.organisation(organisation_id) as session:
            accounts = sql.accounts(session, organisation_id)
            return by_address(accounts, members_sql.members(session, organisation_id))

    def create(self, principal: Principal, *, name: str, scopes: list[str]) -> ServiceAccount:
        """An account whose keys have at most these scopes, none that its maker lacks."""
        now = self.clock.now()
        access.require_fresh(principal, now)
        granted = access.parse_scopes(scopes)
        access.require_grantable(principal, granted)
        if principal.expires_at is not None:
            raise NotAllowed(needs="a key that does not expire, since service accounts do not")
        name = organisations_rules.normalise_name(name, field="name")
        account = ServiceAccount(new_id(), name, granted, now, principal.actor.subject, None)
        org = principal.tenant
        with self.database.organisation(org) as session:
            standing.require(session, principal)
            if sql.count_living(session, org) >= ACCOUNTS_MAX:
                raise BadInput(detail="there are as many as there may be", max=ACCOUNTS_MAX)
            sql.add(session, org, account)
            audit.record(
                session, org, principal.actor, "service_account.created",
                f"{standing.SERVICE_ACCOUNT}{account.id}", now=now, name=name,
                scopes=list(granted),
            )  # fmt: skip
            return by_address([account], members_sql.members(session, org))[0]

    def disable(self, principal: Principal, account_id: UUID) -> None:
        """The account is no more, and every key that it or its keys made is dead: here at once,
        everywhere within the published bound. Disabling twice changes nothing.
        """
        now = self.clock.now()
        access.require_fresh(principal, now)
        org, subject = principal.tenant, f"{standing.SERVICE_ACCOUNT}{account_id}"
        with self.database.directory() as session:
            with within(session, org):
                standing.require(session, principal)
                name = sql.disable(session, org, account_id, now)
                if name is None:
                    if account_id not in {one.id for one in sql.accounts(session, org)}:
                        raise NotFound(service_account=account_id)
                    return
                keys = {f"key:{key.id}": key for key in keys_sql.keys(session, org)}
                dead = [
                    key.id
                    for key in keys.values()
                    if key.revoked_at is None and standing.root(key.created_by, keys) == subject
                ]
                for key_id in dead:
                    keys_sql.revoke_key(session, org, key_id, now)
                audit.record(
                    session, org, principal.actor, "service_account.disabled", subject, now=now,
                    name=name, keys=[str(key_id) for key_id in dead],
                )  # fmt: skip
                dead += standing.end_outgrown(session, org, principal.actor, now)
            revocations_sql.log_revocations(session, RevocationKind.KEY, dead, now)
