"""The delivery half of `ci.toml`, with the addresses that the environment may give: PURE.

The classes are the tables of the file: a key that none of them has, and a value of another type, is
refused by name. Addresses differ from one installation to the next: the environment may set them.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ci.errors import Defect, UsageError
from ci.model import Catalogue, ImageRef, Service

SEVERITIES = ("UNDEFINED", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
Pin = Literal["digest", "tag"]
STRICT = ConfigDict(extra="forbid", strict=True, populate_by_name=True)
ADDRESSES = {
    "ECR_REGISTRY": ("registry", "address"),
    "MANIFEST_REPO_URL": ("manifests", "url"),
    "MANIFEST_REPO_BRANCH": ("manifests", "branch"),
}


@dataclass(frozen=True, config=STRICT)
class PlanRules:
    """How changed paths become work; patterns as `fnmatch` has them, `*` crossing slashes."""

    ignored: tuple[str, ...]  # neither tests nor builds
    test_only: tuple[str, ...]  # the image does not hold them
    widens_tests: tuple[str, ...]  # outside every service, and yet all depend on them
    widens_builds: tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class RegistryConfig:
    """Where images go. address: a bare host; empty when nothing was said."""

    address: str
    namespace: str

    def repository(self, service: Service) -> str:
        """The name of the service's repository in the registry, without the host."""
        return f"{self.namespace}{service.image}"

    def image(self, service: Service, tag: str, digest: str | None = None) -> ImageRef:
        """The service's image with that tag, host included."""
        return ImageRef(f"{self.address}/{self.repository(service)}", tag, digest)


@dataclass(frozen=True, config=STRICT)
class ScanConfig:
    """fail_on: the lowest severity that stops a release. waivers: a file of the repository."""

    fail_on: Literal[SEVERITIES]  # type: ignore[valid-type]
    wait_s: Annotated[float, Field(ge=0)]
    waivers: str


@dataclass(frozen=True, config=STRICT)
class Target:
    """Where one service's image stands: a file and the path of a key in it, as templates.

    document: which one of several, from 0. pin: how the image is written; None: as [manifests]
    says. read_elsewhere: the chart of the service does not show the image (an app of apps).
    """

    file: str
    key: str
    document: Annotated[int | None, Field(ge=0)] = None
    pin: Pin | None = None
    read_elsewhere: bool = False

    def pinned(self, image: ImageRef) -> ImageRef:
        """`image` as the file is to name it."""
        return replace(image, digest=None) if self.pin == "tag" else image


@dataclass(frozen=True, config=STRICT)
class Render:
    """How manifests are rendered before and after an edit. path: the folder kustomize builds.

    values: files given to Helm in this order, those that exist. may_change: what may change beside
    the images: paths within an object, or `Kind name` of one that comes or goes, `*` for anything.
    """

    tool: Literal["helm", "kustomize", "none"]
    chart: str = ""
    values: tuple[str, ...] = ()
    release: str = "{folder}"
    namespace: str = "{environment}"
    path: str = ""
    may_change: tuple[str, ...] = ()

    def what_it_shows(self, service: Service, environment: str) -> tuple[str, ...]:
        """The same for services that one rendering shows together, as of an umbrella chart."""
        templates = (self.chart, *self.values, self.release, self.namespace, self.path)
        return environment, *(fill(template, service, environment) for template in templates)


@dataclass(frozen=True, config=STRICT)
class ManifestsConfig:
    """The repository that Argo CD follows. attempts: pushes before a lost race is given up."""

    url: str
    branch: str
    author_name: str
    author_email: str
    attempts: Annotated[int, Field(ge=1, le=100)]
    require_signature: bool
    target: Target
    render: Render
    pin: Pin = "digest"


@dataclass(frozen=True, config=STRICT)
class Environment:
    """One place that runs the platform. promoted_from: None where `bump` itself writes."""

    name: str
    promoted_from: Annotated[str | None, Field(alias="from")] = None
    pull_request: bool = False

    @property
    def own_branch(self) -> str | None:
        """The branch of its deliveries; None where they go to the branch that Argo CD follows."""
        return f"ci/{self.name}" if self.pull_request else None


@dataclass(frozen=True, config=STRICT)
class Publishing:
    """branch: the one that publishes. tag: of its images; {build}, {sha8}, {sha} and {branch}."""

    branch: str
    tag: Annotated[str, Field(pattern=r"[{]build[}]")]  # else two builds would claim one tag


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Listed(Service):
    """One [[service]], perhaps with a target of its own."""

    target: Target | None = None


@dataclass(frozen=True, config=STRICT)
class Delivery:
    """All that `ci.toml` says about delivery."""

    publishing: Annotated[Publishing, Field(alias="delivery")]
    plan: PlanRules
    registry: RegistryConfig
    scan: ScanConfig
    manifests: ManifestsConfig
    environments: Annotated[tuple[Environment, ...], Field(alias="environment")]
    services: Annotated[tuple[Listed, ...], Field(alias="service")]

    @property
    def first(self) -> Environment:
        """The environment that every release of the main branch goes to."""
        return next(place for place in self.environments if place.promoted_from is None)

    def environment(self, name: str) -> Environment:
        """The environment of that name."""
        by_name = {place.name: place for place in self.environments}
        if name not in by_name:
            raise UsageError(f"no environment {name!r}; there are {', '.join(by_name)}")
        return by_name[name]

    def target(self, service: Service, environment: str) -> Target:
        """Where the image of `service` stands in `environment`."""
        own = (listed.target for listed in self.services if listed.code == service.code)
        template = next(own, None) or self.manifests.target
        file, key = (fill(text, service, environment) for text in (template.file, template.key))
        return replace(template, file=file, key=key, pin=template.pin or self.manifests.pin)


def fill(template: str, service: Service, environment: str) -> str:
    """`template` with {environment}, {folder}, {code} and {image} put in."""
    try:
        return template.format(
            environment=environment, folder=service.folder, code=service.code, image=service.image
        )
    except (KeyError, IndexError, ValueError, AttributeError) as exc:
        holes = "{environment}, {folder}, {code} and {image}"
        raise Defect(f"ci/ci.toml: {template!r} may hold {holes}, no others: {exc!r}") from exc


def load(catalogue: Catalogue, environ: Mapping[str, str]) -> Delivery:
    """The delivery part of the repository's `ci.toml`; `Defect` names what makes no sense."""
    return parse((catalogue.root / "ci" / "ci.toml").read_text(encoding="utf-8"), environ)


def parse(text: str, environ: Mapping[str, str]) -> Delivery:
    """The delivery part of the TOML `text`, addresses of `environ` winning."""
    try:
        data: dict[str, Any] = tomllib.loads(text)
        for variable, (table, key) in ADDRESSES.items():
            if environ.get(variable):
                data.setdefault(table, {})[key] = environ[variable]
        tables = {key: value for key, value in data.items() if key not in {"twin", "top_level"}}
        # JSON, where a list is the only kind of sequence, and so may be a tuple in strict mode
        delivery = TypeAdapter(Delivery).validate_json(json.dumps(tables, default=str))
    except tomllib.TOMLDecodeError as exc:
        raise Defect(f"ci/ci.toml is no TOML: {exc}") from exc
    except ValidationError as exc:
        raise Defect(f"ci/ci.toml makes no sense:\n  {explained(exc)}") from exc
    if faults := _faults(delivery, environ):
        raise Defect("ci/ci.toml makes no sense:\n  " + "\n  ".join(faults))
    return delivery


def explained(error: ValidationError) -> str:
    """A line for each fault that pydantic sees: which key, what is there, what was expected."""
    lines = []
    for fault in error.errors(include_url=False):
        key, message = ".".join(map(str, fault["loc"])), fault["msg"]
        if fault["type"] == "missing":
            lines.append(f"{key} is missing")
        elif fault["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            lines.append(f"{key}: no such key")
        else:
            lines.append(f"{key} is {fault['input']!r}: {message[0].lower()}{message[1:]}")
    return "\n  ".join(lines)


def _faults(delivery: Delivery, environ: Mapping[str, str]) -> list[str]:
    names = [place.name for place in delivery.environments]
    faults = [f"environment {name!r} is there twice" for name in {*names} if names.count(name) > 1]
    if [place.promoted_from for place in delivery.environments].count(None) != 1:
        faults.append("exactly one [[environment]] has no `from`; that is where `bump` writes")
    faults += [
        f"environment {place.name!r} comes from {place.promoted_from!r}, which is not there"
        for place in delivery.environments
        if place.promoted_from not in {None, *names}
    ]
    if "/" in delivery.registry.address:
        where = "ECR_REGISTRY" if environ.get("ECR_REGISTRY") else "registry.address"
        faults.append(f"{where} {delivery.registry.address!r} is not a bare host[:port]")
    return faults
