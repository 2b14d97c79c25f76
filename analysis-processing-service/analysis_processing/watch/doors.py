"""What a watch asks of the other services: its next columns, new versions; and its alarm series.

The alarm series of an event has the labels of the anomaly analysis' own and `watch`: 1 at each
column while it lasts, 0 once when it ended.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from analysis_processing.analyses.anomaly.run import ALARM_METRIC
from analysis_processing.analyses.block import labels_about
from analysis_processing.clients import remote_write
from analysis_processing.clients.data_api import matrix
from analysis_processing.clients.http import Door
from analysis_processing.frames import F64
from analysis_processing.model import Labels
from analysis_processing.watch.defaults import instant
from analysis_processing.watch.watches import Watch

ALARM_SERIES_A_REQUEST = 500
NEW_VERSIONS = (
    'group by (job, service, version) ({{__name__=~".+_build_info",version!=""}}) unless '
    'group by (job, service, version) ({{__name__=~".+_build_info"}} offset {ago}s)'
)
VERSIONS_MAX = 20
AlarmSeries = tuple[Labels, list[tuple[int, float]]]
"""A series and its samples (ms, value) in time order."""


async def columns(das: Door, watch: Watch, first_ms: int, steps: int) -> list[tuple[Labels, F64]]:
    """Each series of the query at `steps` columns from `first_ms` on, NaN where it has no sample.

    Raises Refused or Unreachable.
    """
    batches = await matrix(das, watch.query, first_ms, watch.step_ms, steps)
    return [one for labels, values in batches for one in zip(labels, values, strict=True)]


async def new_versions(das: Door, at_ms: int, ago_ms: int) -> list[Labels]:
    """`job` or `service` and `version` of what runs at `at_ms` and did not `ago_ms` before."""
    query = NEW_VERSIONS.format(ago=ago_ms // 1000)
    series = await instant(das, query, at_ms)
    return [labels for labels in series if labels.get("version")][:VERSIONS_MAX]


def alarms(
    watch: Watch, events: Iterable[Any], from_ms: int, to_ms: int, now: datetime
) -> list[AlarmSeries]:
    """Alarm samples of the columns [from_ms, to_ms).

    events: those of `events.lasting`. A silenced event, and a kind that an event is no longer taken
    for, is 0. Where two events of one series meet, 1 wins.
    """
    series: dict[tuple[tuple[str, str], ...], dict[int, float]] = defaultdict(dict)
    for event in events:
        step_ms, end_ms = watch.step_ms, event["end_ms"]
        last_ms = to_ms - step_ms if end_ms is None else min(end_ms, to_ms - step_ms)
        samples = dict.fromkeys(range(max(event["start_ms"], from_ms), last_ms + 1, step_ms), 1.0)
        if end_ms is not None and (over_ms := max(end_ms + step_ms, from_ms)) < to_ms:
            samples[over_ms] = 0.0
        until = event["silenced_until"]
        is_silenced = until is not None and until > now
        for kind in (event["kind"], *event["former_kinds"]):
            labels = labels_about(
                event["labels"], ALARM_METRIC, watch=watch.name, anomaly_kind=kind
            )
            own = series[tuple(sorted(labels.items()))]
            value = 0.0 if is_silenced or kind != event["kind"] else 1.0
            for at_ms, sample in samples.items():
                own[at_ms] = max(own.get(at_ms, 0.0), sample * value)
    return [(dict(labels), sorted(own.items())) for labels, own in series.items() if own]


async def write_alarms(dis: Door, series: Sequence[AlarmSeries]) -> None:
    """The samples are durable; raises Refused or Unreachable."""
    for first in range(0, len(series), ALARM_SERIES_A_REQUEST):
        body = remote_write.encode(series[first : first + ALARM_SERIES_A_REQUEST])
        await dis.post("/api/v1/write", content=body, headers=remote_write.HEADERS)
