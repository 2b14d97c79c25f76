"""What all parts of one evaluation share: options, the budget of samples, notes for the user."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from data_api.errors import TooManySamples
from data_api.model import METRIC_NAME, SAMPLE_BYTES, Labels, QueryLimits
from data_api.promql import lexer
from data_api.promql.errors import EvaluationError
from data_api.promql.nodes import Span

LOOKBACK_MS = 300_000
SUBQUERY_STEP_MS = 60_000  # of `[1h:]`
NOTES_MAX = 10
# What a query may make of labels; the first three as data-ingest-service bounds those it takes.
LABELS_MAX = 128
LABEL_NAME_BYTES_MAX = 1024
LABEL_VALUE_BYTES_MAX = 8192
TEXT_BYTES_MAX = 64 * 1024 * 1024  # of all label values that one query makes
LABEL_SET_BYTES = 256  # of a set that the query makes, beside that text
SETS_A_CHECKPOINT = 256


@dataclass(frozen=True, slots=True)
class Options:
    """Switches of the language.

    delayed_name_removal: names go at the very end instead of at the first function (Prometheus has
    it off by default). counts_samples: the result has stats.
    """

    delayed_name_removal: bool = False
    counts_samples: bool = False


@dataclass(slots=True)
class Annotations:
    """Notes, each once, in the order they came up, with `(line:column)`, by kind: warning, info."""

    text: str
    notes: dict[str, dict[str, None]] = field(default_factory=lambda: {"warning": {}, "info": {}})
    places: dict[int, str] = field(default_factory=dict)

    def add(self, kind: str, message: str, span: Span) -> None:
        """One more note about the expression at `span`."""
        if span.start not in self.places:  # a note for each series, and a long text to count in
            self.places[span.start] = lexer.where(self.text, span.start).rstrip(": ")
        self.notes[kind][f"PromQL {kind}: {message} ({self.places[span.start]})"] = None

    def shown(self, kind: str) -> tuple[str, ...]:
        """As an answer carries them: the first few, then how many more.

        Source: Prometheus `Annotations.AsStrings` with the limits of its API.
        """
        notes = tuple(self.notes[kind])
        rest = len(notes) - NOTES_MAX
        more = (f"{rest} more {kind} annotations omitted",) if rest > 0 else ()
        return notes[:NOTES_MAX] + more


@dataclass(frozen=True, slots=True)
class Notes:
    """Where notes about one expression go."""

    annotations: Annotations
    span: Span
    metric: str = ""

    def warn(self, message: str) -> None:
        """Something is wrong with the data."""
        self.annotations.add("warning", message, self.span)

    def info(self, message: str) -> None:
        """Something may be wrong."""
        self.annotations.add("info", message, self.span)

    def of_metric(self, message: str) -> None:
        """A warning that names the metric."""
        self.warn(f'{message} "{self.metric}"')

    def mixed(self) -> None:
        """Floats and histograms in one window."""
        self.of_metric("encountered a mix of histograms and floats for metric name")

    def incompatible(self) -> None:
        """Exponential buckets and custom bounds in one window."""
        self.of_metric(
            "vector contains a mix of histograms with exponential and custom buckets schemas "
            "for metric name"
        )

    def reconciled(self, operation: str) -> None:
        """Custom bounds differed; `operation`: addition, subtraction or aggregation."""
        self.info(f"mismatched custom buckets were reconciled during {operation}")

    def conflicting(self, operation: str) -> None:
        """Some hints say that there was a counter reset, others that there was none."""
        self.warn(f"conflicting counter resets during histogram {operation}")


@dataclass(slots=True)
class Budget:
    """How many samples one evaluation may have in memory, and which labels it may make.

    loaded: samples that stay for now; peak: the most there were at once. sets, text_bytes: label
    sets made so far and the text of their new values, which count until the end.
    """

    limits: QueryLimits
    loaded: int = 0
    peak: int = 0
    sets: int = 0
    text_bytes: int = 0

    def check(self, samples: int, sets: int = 0) -> None:
        """Raise TooManySamples if `samples` do not fit beside the loaded ones; the process is asked
        for them and for the label sets that are made so far, and `sets` more.
        """
        self.limits.checkpoint()
        needed = self.loaded + samples
        if needed > self.limits.samples_max:
            raise TooManySamples(needed=needed, limit=self.limits.samples_max)
        self.peak = max(self.peak, needed)
        made_bytes = (self.sets + sets) * LABEL_SET_BYTES + self.text_bytes
        self.limits.reserve(needed + made_bytes // SAMPLE_BYTES)

    def load(self, samples: int) -> None:
        """Count `samples` as loaded, or raise TooManySamples."""
        self.check(samples)
        self.loaded += samples

    @contextlib.contextmanager
    def beside(self, samples: int) -> Iterator[None]:
        """`samples` are held while the block computes others."""
        self.load(samples)
        try:
            yield
        finally:
            self.loaded -= samples

    def check_value(self, labels: Labels, name: str, text: str, length: int) -> None:
        """Raise EvaluationError if a label's value of `length` characters, which `text` begins, or
        the label's name is too long. Source of the words: Prometheus `verifyLabelLimits`.
        """
        metric = labels.get(METRIC_NAME, "")[:50]
        if max(length, len(text.encode())) > LABEL_VALUE_BYTES_MAX:
            raise EvaluationError(
                reason=f"label_value_length_limit exceeded (metric: {metric}, label name: "
                f'{name[:50]}, value: "{text[:50]}", length: {max(length, len(text.encode()))}, '
                f"limit: {LABEL_VALUE_BYTES_MAX})"
            )
        if len(name.encode()) > LABEL_NAME_BYTES_MAX:
            raise EvaluationError(
                reason=f"label_name_length_limit exceeded (metric: {metric}, label name: "
                f"{name[:50]}, length: {len(name.encode())}, limit: {LABEL_NAME_BYTES_MAX})"
            )

    def made(self, labels: Labels, text_bytes: int) -> None:
        """Count a label set that the query made, `text_bytes` of whose text are new.

        Raises EvaluationError when it has too many labels or all new text is too much.
        """
        if len(labels) > LABELS_MAX:
            raise EvaluationError(
                reason=f"label_limit exceeded (metric: {labels.get(METRIC_NAME, '')[:50]}, number "
                f"of labels: {len(labels)}, limit: {LABELS_MAX})"
            )
        self.sets += 1
        self.text_bytes += text_bytes
        if self.text_bytes > TEXT_BYTES_MAX:
            raise EvaluationError(
                reason="query processing would make too many bytes of label values in query "
                f"execution (needed={self.text_bytes}, limit={TEXT_BYTES_MAX})"
            )
        if self.sets % SETS_A_CHECKPOINT == 0:
            self.check(0)
