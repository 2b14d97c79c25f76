"""The nouns of `ci`: a service, its processes, files that must be twins. No module of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Service:
    """One folder of the platform, as `ci.toml` lists it."""

    folder: str
    code: str
    package: str | None
    image: str
    port: int
    ready: str
    metrics: str
    migrate: str | None
    kernels: str | None
    processes: Mapping[str, str]

    @property
    def kernels_folder(self) -> str | None:
        """Where the sources of its kernels stand, within its folder."""
        return self.kernels.replace(".", "/") if self.kernels else None

    @property
    def port_variable(self) -> str:
        """The variable that moves its port in a native run."""
        return f"CLOUDOPSHUB_{self.code.upper()}_PORT"


@dataclass(frozen=True)
class Twin:
    """One text in several places; all hold the same bytes."""

    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """What the repository is made of."""

    root: Path
    services: tuple[Service, ...]
    twins: tuple[Twin, ...]
    top_level: frozenset[str]

    def service(self, code: str) -> Service:
        """The service with that code; a wrong code here is a programming error."""
        return next(service for service in self.services if service.code == code)
