"""What is known of a target after its last scrape, and when a person is told.

A condition is logged when it begins, when its cause changes and when it ends: never at each scrape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from data_ingest.scrape.fetch import Failure
from data_ingest.scrape.targets import Target, shown_labels
from data_ingest.scrape.words import duration_text

DOWN: Final = "target_down"
NOT_STORED: Final = "scrape_not_stored"
REFUSED: Final = "scrape_samples_refused"
DUPLICATES: Final = "scrape_duplicate_samples"
UNREAD: Final = "scrape_discovery_failed"
CONFIG: Final = "scrape_config_refused"
_ENDS: Final[Mapping[str, str]] = {
    DOWN: "target_up",
    NOT_STORED: "scrape_stored_again",
    REFUSED: "scrape_samples_accepted_again",
    DUPLICATES: "scrape_duplicate_samples_gone",
    UNREAD: "scrape_discovery_works_again",
    CONFIG: "scrape_config_accepted_again",
}
_NEVER: Final = "0001-01-01T00:00:00Z"
"""Go's zero time, which Prometheus shows."""

log = structlog.get_logger()


@dataclass(slots=True)
class Conditions:
    """What is wrong with one thing and was logged; `names` says in each line which thing."""

    names: Mapping[str, str]
    _reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    _causes: dict[tuple[str, str], str] = field(default_factory=dict)

    def say(
        self, condition: str, cause: str, reason: str = "", source: str = "", **facts: Any
    ) -> None:
        """The condition holds for this cause, or with none it does not; each change is logged."""
        key, names = (condition, source), {**self.names, **({"source": source} if source else {})}
        before = self._causes.pop(key, "")
        self._reasons.pop(key, None)
        if cause:
            self._causes[key], self._reasons[key] = cause, reason or cause
            if cause != before:
                log.warning(condition, **names, reason=reason or cause, **facts)
        elif before:
            log.info(_ENDS[condition], **names)

    def text(self) -> str:
        """All that is wrong now."""
        return "; ".join(self._reasons.values())


@dataclass(slots=True)
class TargetState:
    """One target's health, and what is wrong with it."""

    target: Target
    conditions: Conditions = field(init=False)
    health: str = "unknown"
    last_scrape_ms: int | None = None
    last_duration_s: float = 0.0

    def __post_init__(self) -> None:
        labels = dict(self.target.labels)
        self.conditions = Conditions(
            {
                "job": labels.get("job", self.target.pool),
                "instance": labels.get("instance", ""),
                "url": self.target.shown_url,
            }
        )

    def scraped(self, at_ms: int, duration_s: float, failure: Failure | None) -> None:
        """The target was scraped at `at_ms`."""
        self.last_scrape_ms, self.last_duration_s = at_ms, duration_s
        self.health = "down" if failure else "up"
        cause = f"{failure.outcome} {failure.cause}" if failure else ""
        self.conditions.say(DOWN, cause, failure.reason if failure else "")

    def facts(self) -> dict[str, Any]:
        """As `GET /api/v1/targets` shows it."""
        target, reading = self.target, self.target.reading
        return {
            "discoveredLabels": dict(shown_labels(target.discovered)),
            "labels": dict(target.labels),
            "scrapePool": target.pool,
            "scrapeUrl": target.shown_url,
            "globalUrl": target.shown_url,
            "lastError": self.conditions.text(),
            "lastScrape": _NEVER if self.last_scrape_ms is None else rfc3339(self.last_scrape_ms),
            "lastScrapeDuration": self.last_duration_s,
            "health": self.health,
            "scrapeInterval": duration_text(reading.scrape_interval),
            "scrapeTimeout": duration_text(reading.scrape_timeout),
        }


def rfc3339(at_ms: int) -> str:
    """In UTC, with milliseconds."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
