"""What every command is given: repository, settings, where to say things, and what now is."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ci.errors import UsageError
from ci.model import Catalogue
from ci.screen import Screen


@dataclass(frozen=True)
class Settings:
    """Where a native run listens and keeps its things.

    ports: by service code; 0 asks for a free one. passed_on: what else the environment says.
    """

    data_dir: Path
    cache_dir: Path
    state_file: Path
    host: str
    ports: Mapping[str, int]
    start_timeout_s: float
    colour: bool
    passed_on: Mapping[str, str]


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


def from_environment(catalogue: Catalogue, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings that `environ` describes; `UsageError` names a variable that makes no sense."""
    data_dir = Path(environ.get("CLOUDOPSHUB_DATA_DIR") or catalogue.root / ".data")
    data_dir = data_dir.expanduser().absolute()
    return Settings(
        data_dir=data_dir,
        cache_dir=catalogue.root / ".cache",
        state_file=Path(environ.get("CLOUDOPSHUB_STATE_FILE") or data_dir / "state.json"),
        host=environ.get("CLOUDOPSHUB_HOST") or "127.0.0.1",
        ports={
            service.code: int(_number(environ, service.port_variable, service.port, 65535))
            for service in catalogue.services
        },
        start_timeout_s=_number(environ, "CLOUDOPSHUB_START_TIMEOUT_S", 180, 86400),
        colour="NO_COLOR" not in environ and environ.get("TERM") != "dumb",
        passed_on=dict(environ),
    )


def _number(environ: Mapping[str, str], name: str, default: float, maximum: float) -> float:
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{name}={text!r} is not a number") from None
    if not 0 <= value <= maximum:
        raise UsageError(f"{name}={text!r} is not between 0 and {maximum}")
    return value
