"""The bodies of requests and answers about meters: docs/contracts.md §6."""

from user_billing.api.bodies import Body, Unicode, View
from user_billing.meters.rules import Aggregation, Meter, own


class MeterBody(Body):
    """A meter of the organisation's own events. rule: what counts, in words."""

    code: Unicode
    unit: Unicode
    aggregation: Aggregation
    rule: Unicode = ""

    def meter(self) -> Meter:
        """As the rules take it."""
        return own(**self.model_dump())


class MeterView(View):
    """A meter. counted_as: its name in hours of usage. source: the service that counts it, null for
    the organisation's own events.
    """

    code: str
    unit: str
    aggregation: Aggregation
    aggregation_rule: str
    rule: str
    counted_as: str
    source: str | None


class MetersView(View):
    """Those that every organisation has, then its own by code."""

    meters: list[MeterView]
