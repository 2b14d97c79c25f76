"""Access tokens: what a session or a sister service is exchanged for."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from user_billing import access
from user_billing.chassis.clock import Clock
from user_billing.db.session import Database
from user_billing.errors import NotAllowed, NotFound
from user_billing.identifiers import new_id
from user_billing.model import Audience, Limits, LiveSession, Role
from user_billing.organisations import sql as organisations_sql
from user_billing.tokens.claims import claims
from user_billing.tokens.signing import SigningKeys


@dataclass(frozen=True)
class Tokens:
    """Issues five-minute tokens."""

    database: Database
    clock: Clock
    signing: SigningKeys

    def for_session(self, live: LiveSession, audience: Audience) -> str:
        """A token with the role the person has now.

        Raises NotAllowed when the organisation is suspended, but for this service.
        """
        org, subject = live.organisation_id, str(live.user.id)
        if audience is not Audience.UBS:
            self._require_active(org)
        payload = claims(
            audience, subject, org, self.clock.now(),
            role=live.role, scopes=access.scopes_of(live), limits=self._limits(org),
        )  # fmt: skip
        return self.signing.sign({**payload, "jti": str(new_id()), "sid": str(live.id)})

    def for_service(
        self,
        *,
        callers: Collection[Audience],
        service: Audience,
        organisation_id: UUID,
        audience: Audience,
        scopes: Iterable[str],
    ) -> str:
        """A token with which `service` acts for an organisation, with just these scopes.

        callers: the services that whoever asks may be. Raises NotAllowed for another one, and for
        what `service` does not need (access.SERVICE_MAY).
        """
        granted = access.parse_scopes(scopes)
        if service not in callers:
            raise NotAllowed(needs=f"the service token of {service}")
        access.require_service_may(service, audience, granted)
        self._require_active(organisation_id)
        # What rules and alerts write is not blocked.
        limits = replace(self._limits(organisation_id), blocked=None)
        payload = claims(
            audience, f"service:{service}", organisation_id, self.clock.now(),
            role=Role.SERVICE, scopes=granted, limits=limits,
        )  # fmt: skip
        return self.signing.sign({**payload, "jti": str(new_id())})

    def _require_active(self, organisation_id: UUID) -> None:
        with self.database.directory() as session:
            reason = organisations_sql.suspension(session, organisation_id)
        if reason is not None:
            raise NotAllowed(detail=f"the organisation is suspended: {reason}")

    def _limits(self, organisation_id: UUID) -> Limits:
        with self.database.directory() as session:
            limits = organisations_sql.limits_of(session, organisation_id)
        if limits is None:
            raise NotFound(organisation=organisation_id)
        return limits
