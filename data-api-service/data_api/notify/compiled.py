"""A configuration ready for use, and a few of them at hand."""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import anyio.to_thread

from data_api.notify import config, routing
from data_api.notify.config import Configuration
from data_api.notify.routing import Route
from data_api.notify.seal import Sealer
from data_api.notify.texts import Texts

CACHED_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class Compiled:
    """A configuration with its tree of routes.

    root: None where nothing is told from here. secrets: what is masked in answers. shown: its YAML.
    """

    config: Configuration
    root: Route | None
    texts: Texts
    secrets: tuple[str, ...] = field(repr=False)
    shown: str = ""


def compiled(text: str) -> Compiled:
    """The configuration in `text`; BadConfiguration says what is wrong. Blocks for its parsing."""
    read, shown = config.read(text)
    root = routing.compiled(read.route) if read.route else None
    return Compiled(read, root, Texts(read.templates), config.quotable(read), shown)


EMPTY: Final = Compiled(Configuration.model_construct(), None, Texts(()), ())
"""Of a tenant that has set none: alerts are shown, nobody is told."""


class Configurations:
    """Opens and compiles stored configurations; the newest CACHED_MAX stay by their revision."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._cached: dict[UUID, Compiled] = {}

    async def of(self, tenant: UUID, row: tuple[UUID, bytes] | None) -> Compiled:
        """The configuration of a row (revision, sealed); Unreadable under another secret."""
        if row is None:
            return EMPTY
        revision, sealed = row
        if revision not in self._cached:
            text = self._sealer.open(tenant, sealed)
            self._cached[revision] = await anyio.to_thread.run_sync(compiled, text)
            if len(self._cached) > CACHED_MAX:
                del self._cached[next(iter(self._cached))]
        return self._cached[revision]
