"""What a recording rule writes; pure. Source: Prometheus `rules/recording.go`."""

from data_api.model import METRIC_NAME
from data_api.rules.alerting import AlertState, LimitExceeded, RuleError, stale
from data_api.rules.model import RecordingRule, Sample, Vector, label_key


def record(
    rule: RecordingRule, before: AlertState, vector: Vector, at_ms: int, limit: int = 0
) -> tuple[AlertState, list[Sample]]:
    """The series written now, and their samples at `at_ms`, with stale markers for those of
    `before` that are no more.

    Raises RuleError: two series get the same labels, or they are more than `limit`.
    """
    own = {METRIC_NAME: rule.record, **rule.labels}
    values = {label_key({**labels, **own}): value for labels, value in vector}
    if len(values) < len(vector):
        raise RuleError(
            reason="vector contains metrics with the same labelset after applying rule labels"
        )
    if limit and len(values) > limit:
        raise LimitExceeded(reason=f"exceeded limit of {limit} with {len(values)} series")
    written = frozenset(values)
    samples = [(key, at_ms, value) for key, value in values.items()]
    return AlertState(written=written), samples + stale(before.written - written, at_ms)
