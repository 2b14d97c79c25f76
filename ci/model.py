"""The nouns of `ci`: what the repository is made of, and what a delivery is. No module of ours.

Catalogue ── Service, Twin                       what ci.toml lists
Release ── ImageRef                              what one build published together
Ledger ── Deployment, Hold ◀── ManifestCommit    what the manifest repository tells
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, kw_only=True)
class Service:
    """One folder of the platform, as a [[service]] of `ci.toml` lists it."""

    folder: str
    code: str
    package: str | None = None
    image: str
    port: int
    ready: str
    metrics: str
    migrate: str | None = None
    kernels: str | None = None
    processes: Mapping[str, str]

    @property
    def kernels_folder(self) -> str:
        """Where the sources of its kernels stand, within its folder; empty when it has none."""
        return (self.kernels or "").replace(".", "/")

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


@dataclass(frozen=True)
class ImageRef:
    """`repository:tag@digest`; the repository carries its registry's host."""

    repository: str
    tag: str
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.pin}"

    @property
    def pin(self) -> str:
        """What follows the colon: `tag@digest`, or the tag alone."""
        return f"{self.tag}@{self.digest}" if self.digest else self.tag

    @property
    def name(self) -> str:
        """The last part of the repository, which says what the image is."""
        return self.repository.rsplit("/", 1)[-1]

    @classmethod
    def parse(cls, text: str) -> "ImageRef":
        """The reverse of `str`; `ValueError` when `text` has no tag, or a bad tag or digest."""
        rest, _, digest = text.partition("@")
        repository, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag or not repository:
            raise ValueError(f"{text!r} is not repository:tag[@digest]")
        if not TAG.fullmatch(tag):
            raise ValueError(f"{tag!r} is not an image tag")
        if digest and not DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is not sha256: and 64 hexadecimal digits")
        return cls(repository, tag, digest or None)


@dataclass(frozen=True)
class Release:
    """Images one run published together, by service code; whole, or not there at all."""

    run_id: str
    tag: str
    build: str
    build_url: str | None
    source_commit: str
    source_repo: str | None
    committed_at: datetime
    images: Mapping[str, ImageRef]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `release.json`."""
        images = {code: str(image) for code, image in sorted(self.images.items())}
        return vars(self) | {"committed_at": self.committed_at.isoformat(), "images": images}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Release":
        """The reverse of `to_json`; `ValueError`, `KeyError` or `TypeError` when it is not one."""
        committed_at = datetime.fromisoformat(data["committed_at"])
        if committed_at.tzinfo is None:
            raise ValueError(f"{data['committed_at']} is in no time zone")
        images = {code: ImageRef.parse(text) for code, text in data["images"].items()}
        return cls(**{**data, "committed_at": committed_at, "images": images})


@dataclass(frozen=True)
class ManifestCommit:
    """One commit of the manifest repository; a key of its trailers may come more than once."""

    sha: str
    at: datetime
    trailers: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Deployment:
    """What the manifests say runs: one service in one environment, and where it came from."""

    environment: str
    code: str
    image: ImageRef
    source_commit: str
    committed_at: datetime | None
    build: str | None
    build_url: str | None
    run_id: str
    manifest_commit: str
    at: datetime
    kind: str  # bump, promote or rollback


@dataclass(frozen=True)
class Hold:
    """A service stays where a rollback put it, until it is released."""

    environment: str
    code: str
    since: datetime
    reason: str
    manifest_commit: str


@dataclass(frozen=True)
class Ledger:
    """What the history of manifests tells, by environment and code; deployments newest first."""

    deployments: Mapping[tuple[str, str], Sequence[Deployment]] = field(default_factory=dict)
    holds: Mapping[tuple[str, str], Hold] = field(default_factory=dict)

    def running(self, environment: str, code: str) -> Deployment | None:
        """What runs now; None when nothing was ever delivered there."""
        deployments = self.deployments.get((environment, code), ())
        return deployments[0] if deployments else None
