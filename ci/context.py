"""What every command is given: repository, settings, where to say things, and what now is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ci.model import Catalogue
from ci.screen import Screen
from ci.settings import Settings


@dataclass(frozen=True)
class Context:
    """One call of `ci`.

    environ: the environment, read nowhere else. screen: progress; stderr when stdout carries JSON.
    dry_run: nothing outside this process may change. now: the clock, aware.
    """

    catalogue: Catalogue
    settings: Settings
    environ: Mapping[str, str]
    screen: Screen
    dry_run: bool = False
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def root(self) -> Path:
        """The repository."""
        return self.catalogue.root

    @property
    def handed_on(self) -> Path:
        """Where one stage leaves what the next one reads: plan, release, SBOMs, reports."""
        return self.settings.cache_dir / "ci"

    def hand_on(self, name: str, text: str) -> None:
        """A file of that name is there for the next stage."""
        self.handed_on.mkdir(parents=True, exist_ok=True)
        (self.handed_on / name).write_text(text, encoding="utf-8")
