"""Access tokens: what a session or a sister service is exchanged for."""

from collections.abc import Iterable
from uuid import UUID

from user_billing.accounts import directory, rules
from user_billing.accounts.claims import claims
from user_billing.accounts.identifiers import new_id
from user_billing.accounts.signing import SigningKeys
from user_billing.chassis.clock import Clock
from user_billing.db.session import Database
from user_billing.errors import BadInput, NotFound
from user_billing.model import Audience, Limits, LiveSession, Role


class Tokens:
    """Issues five-minute tokens."""

    def __init__(self, database: Database, clock: Clock, signing: SigningKeys) -> None:
        self._database = database
        self._clock = clock
        self._signing = signing

    def for_session(self, live: LiveSession, audience: str) -> str:
        """A token with the role the person has now."""
        return self._signing.sign(
            claims(
                audience=_parse_audience(audience),
                subject=str(live.user.id),
                organisation_id=live.organisation_id,
                role=live.role,
                scopes=rules.ROLE_SCOPES[live.role],
                limits=self._limits(live.organisation_id),
                now=self._clock.now(),
                token_id=new_id(),
                session_id=live.id,
            )
        )

    def for_service(
        self, *, service: str, organisation_id: UUID, audience: str, scopes: Iterable[str]
    ) -> str:
        """A token with which `service` acts for an organisation, with just these scopes."""
        if service not in set(Audience):
            raise BadInput(field="service", value=service, known=[a.value for a in Audience])
        return self._signing.sign(
            claims(
                audience=_parse_audience(audience),
                subject=f"service:{service}",
                organisation_id=organisation_id,
                role=Role.SERVICE,
                scopes=rules.parse_scopes(scopes),
                limits=self._limits(organisation_id),
                now=self._clock.now(),
                token_id=new_id(),
            )
        )

    def _limits(self, organisation_id: UUID) -> Limits:
        with self._database.directory() as session:
            limits = directory.limits_of(session, organisation_id)
        if limits is None:
            raise NotFound(organisation=organisation_id)
        return limits


def _parse_audience(text: str) -> Audience:
    if text not in set(Audience):
        raise BadInput(field="audience", value=text, known=[a.value for a in Audience])
    return Audience(text)
