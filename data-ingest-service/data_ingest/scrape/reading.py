"""How a target's page is asked for and read, in the words of Prometheus' scrape_config."""

from typing import Final, Literal

from data_ingest.scrape.relabel import Rule
from data_ingest.scrape.words import Count, Duration, Size, Strict

Protocol = Literal[
    "PrometheusProto", "OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText0.0.4"
]
_MEDIA_TYPES: Final[dict[Protocol, str]] = {
    "PrometheusProto": "application/vnd.google.protobuf;"
    "proto=io.prometheus.client.MetricFamily;encoding=delimited",
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
}


class Global(Strict):
    """What a file may say of all its jobs; without scrape_protocols, all that can be read."""

    scrape_interval: Duration = 60.0
    scrape_timeout: Duration = 10.0
    scrape_protocols: tuple[Protocol, ...] = ()
    scrape_native_histograms: bool = False
    always_scrape_classic_histograms: bool = False


class Reading(Global):
    """How often, how much it may cost, and what of it is kept. A limit of 0 is none."""

    honor_labels: bool = False
    honor_timestamps: bool = True
    sample_limit: Count = 0
    label_limit: Count = 0
    body_size_limit: Size = 0
    metric_relabel_configs: tuple[Rule, ...] = ()

    @property
    def interval_ms(self) -> int:
        """At least one."""
        return max(1, int(self.scrape_interval * 1000))

    @property
    def reads_classic(self) -> bool:
        """Whether classic buckets are read beside native ones."""
        return not self.scrape_native_histograms or self.always_scrape_classic_histograms

    @property
    def accept(self) -> str:
        """The header that asks for one of the protocols, the first rather than the others.

        By default texts; with native histograms, rather than these protobuf, which alone has them.
        Source: Prometheus `scrape.acceptHeader`.
        """
        texts = [*_MEDIA_TYPES][0 if self.scrape_native_histograms else 1 :]
        chosen = self.scrape_protocols or texts
        offers = [f"{_MEDIA_TYPES[one]};q=0.{9 - i}" for i, one in enumerate(chosen)]
        return ",".join([*offers, "*/*;q=0.1"])
