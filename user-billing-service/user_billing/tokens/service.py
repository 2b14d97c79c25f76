"""Access tokens: what a session or a sister service is exchanged for."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from user_billing import access
from user_billing.chassis.clock import Clock
from user_billing.db.session import Database
from user_billing.errors import BadInput, NotAllowed, NotFound
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

    def for_session(self, live: LiveSession, audience: str) -> str:
        """A token with the role the person has now.

        Raises NotAllowed when the organisation is suspended, but for this service.
        """
        addressed = _parse(audience, "audience")
        if addressed is not Audience.UBS:
            self._require_active(live.organisation_id)
        return self.signing.sign(
            claims(
                audience=addressed,
                subject=str(live.user.id),
                organisation_id=live.organisation_id,
                role=live.role,
                scopes=access.scopes_of(live),
                limits=self._limits(live.organisation_id),
                now=self.clock.now(),
                token_id=new_id(),
                session_id=live.id,
            )
        )

    def for_service(
        self,
        *,
        callers: Collection[Audience],
        service: str,
        organisation_id: UUID,
        audience: str,
        scopes: Iterable[str],
    ) -> str:
        """A token with which `service` acts for an organisation, with just these scopes.

        callers: the services that whoever asks may be. Raises NotAllowed for another one, and for
        what `service` does not need (access.SERVICE_MAY).
        """
        acting, addressed = _parse(service, "service"), _parse(audience, "audience")
        granted = access.parse_scopes(scopes)
        if acting not in callers:
            raise NotAllowed(needs=f"the service token of {acting}")
        access.require_service_may(acting, addressed, granted)
        self._require_active(organisation_id)
        return self.signing.sign(
            claims(
                audience=addressed,
                subject=f"service:{acting}",
                organisation_id=organisation_id,
                role=Role.SERVICE,
                scopes=granted,
                # What rules and alerts write is not blocked.
                limits=replace(self._limits(organisation_id), blocked=None),
                now=self.clock.now(),
                token_id=new_id(),
            )
        )

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


def _parse(text: str, field: str) -> Audience:
    if text not in set(Audience):
        raise BadInput(field=field, value=text, known=[a.value for a in Audience])
    return Audience(text)
