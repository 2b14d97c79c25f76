"""What all parts of one evaluation share: options, the budget of samples, notes for the user."""

from dataclasses import dataclass, field

from data_api.errors import TooManySamples
from data_api.model import QueryLimits
from data_api.promql import lexer
from data_api.promql.nodes import Span

LOOKBACK_MS = 300_000
SUBQUERY_STEP_MS = 60_000
NOTES_MAX = 10


@dataclass(frozen=True, slots=True)
class Options:
    """Switches of the language.

    delayed_name_removal: names go at the very end instead of at the first function (Prometheus has
    it off by default). subquery_step_ms: the step of `[1h:]`.
    """

    delayed_name_removal: bool = False
    subquery_step_ms: int = SUBQUERY_STEP_MS


@dataclass(slots=True)
class Annotations:
    """Warnings and infos, each once, in the order they came up, with `(line:column)`."""

    text: str
    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)

    def warn(self, message: str, span: Span) -> None:
        """Something is wrong with the query or its data."""
        self.warnings[f"PromQL warning: {message} {self._where(span)}"] = None

    def info(self, message: str, span: Span) -> None:
        """Something may be wrong."""
        self.infos[f"PromQL info: {message} {self._where(span)}"] = None

    def shown(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Warnings and infos as an answer carries them: the first few of each, then how many more.

        Source: Prometheus `Annotations.AsStrings` with the limits of its API.
        """
        return _first(self.warnings, "warning"), _first(self.infos, "info")

    def _where(self, span: Span) -> str:
        return f"({lexer.where(self.text, span.start).rstrip(': ')})"


def _first(notes: dict[str, None], kind: str) -> tuple[str, ...]:
    rest = len(notes) - NOTES_MAX
    shown = tuple(notes)[:NOTES_MAX]
    return (*shown, f"{rest} more {kind} annotations omitted") if rest > 0 else shown


@dataclass(slots=True)
class Budget:
    """How many samples one evaluation may have in memory.

    loaded: samples that stay until its end.
    """

    limits: QueryLimits
    loaded: int = 0

    def check(self, samples: int) -> None:
        """Raise TooManySamples if `samples` do not fit beside the loaded ones."""
        self.limits.checkpoint()
        needed = self.loaded + samples
        if needed > self.limits.samples_max:
            raise TooManySamples(needed=needed, limit=self.limits.samples_max)

    def load(self, samples: int) -> None:
        """Count `samples` as loaded, or raise TooManySamples."""
        self.check(samples)
        self.loaded += samples
