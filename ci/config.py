"""The delivery half of `ci.toml`, with the addresses that the environment may give: PURE.

Addresses differ from one installation to the next, so `ci.toml` may leave them empty and the build
server sets `ECR_REGISTRY`, `MANIFEST_REPO_URL` and `MANIFEST_REPO_BRANCH`.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.errors import Defect, UsageError
from ci.model import Catalogue, ImageRef, Service

SEVERITIES = ("UNDEFINED", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
RENDERERS = ("helm", "kustomize", "none")


@dataclass(frozen=True)
class PlanRules:
    """How changed paths become work; patterns as `fnmatch` has them, `*` crossing slashes.

    ignored: neither tests nor builds. test_only: the image does not hold them.
    widens_tests, widens_builds: outside every service, and yet all services depend on them.
    """

    ignored: tuple[str, ...]
    test_only: tuple[str, ...]
    widens_tests: tuple[str, ...]
    widens_builds: tuple[str, ...]


@dataclass(frozen=True)
class RegistryConfig:
    """Where images go. address: the host, without a scheme; empty when nothing was said.

    releases: the repository that holds one record for each published set.
    keep: how many images of a repository `retention` leaves, used or not.
    """

    address: str
    namespace: str
    releases: str
    keep: int
    untagged_days: int

    def repository(self, service: Service) -> str:
        """The name of the service's repository in the registry, without the host."""
        return f"{self.namespace}{service.image}"

    def image(self, service: Service, tag: str, digest: str | None = None) -> ImageRef:
        """The service's image with that tag, host included."""
        return ImageRef(f"{self.address}/{self.repository(service)}", tag, digest)


@dataclass(frozen=True)
class ScanConfig:
    """fail_on: the lowest severity that stops a release. waivers: a file of the repository."""

    fail_on: str
    wait_s: float
    waivers: str


@dataclass(frozen=True)
class Target:
    """Where one service's image stands: a file and the path of a key in it, as templates.

    Both may hold {environment}, {folder}, {code} and {image}.
    """

    file: str
    key: str


@dataclass(frozen=True)
class Render:
    """How manifests are rendered before and after an edit.

    values: files given to Helm in this order, those that exist. path: the folder kustomize builds.
    may_change: paths within an object that may change beside the images.
    """

    tool: str
    chart: str
    values: tuple[str, ...]
    release: str
    namespace: str
    path: str
    may_change: tuple[str, ...]


@dataclass(frozen=True)
class ManifestsConfig:
    """The repository that Argo CD follows. attempts: pushes before a lost race is given up."""

    url: str
    branch: str
    author_name: str
    author_email: str
    attempts: int
    require_signature: bool
    target: Target
    targets: Mapping[str, Target]
    render: Render


@dataclass(frozen=True)
class Environment:
    """One place that runs the platform. promoted_from: None where `bump` itself writes."""

    name: str
    promoted_from: str | None


@dataclass(frozen=True)
class Delivery:
    """All that `ci.toml` says about delivery. branch: the one that publishes."""

    branch: str
    tag: str
    plan: PlanRules
    registry: RegistryConfig
    scan: ScanConfig
    manifests: ManifestsConfig
    environments: Sequence[Environment]

    @property
    def first(self) -> Environment:
        """The environment that every release of the main branch goes to."""
        return next(each for each in self.environments if each.promoted_from is None)

    def environment(self, name: str) -> Environment:
        """The environment of that name."""
        for each in self.environments:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in self.environments)
        raise UsageError(f"no environment {name!r}; there are {known}")

    def target(self, service: Service, environment: str) -> Target:
        """Where the image of `service` stands in `environment`."""
        template = self.manifests.targets.get(service.code, self.manifests.target)
        return Target(
            fill(template.file, service, environment), fill(template.key, service, environment)
        )


def fill(template: str, service: Service, environment: str) -> str:
    """`template` with {environment}, {folder}, {code} and {image} put in."""
    try:
        return template.format(
            environment=environment, folder=service.folder, code=service.code, image=service.image
        )
    except (KeyError, IndexError, ValueError, AttributeError) as exc:
        known = "{environment}, {folder}, {code} and {image}"
        raise Defect(f"ci/ci.toml: {template!r} may hold {known}, no others: {exc!r}") from exc


def load(catalogue: Catalogue, environ: Mapping[str, str]) -> Delivery:
    """The delivery part of the repository's `ci.toml`; `Defect` names what makes no sense."""
    return parse((catalogue.root / "ci" / "ci.toml").read_text(encoding="utf-8"), environ)


def parse(text: str, environ: Mapping[str, str]) -> Delivery:
    """The delivery part of the TOML `text`, addresses of `environ` winning."""
    data: dict[str, Any] = tomllib.loads(text)
    try:
        delivery = _parse(data, environ)
    except (KeyError, TypeError) as exc:
        raise Defect(f"ci/ci.toml: delivery: {exc!r} is missing or not what it should be") from exc
    if faults := _faults(delivery, environ):
        raise Defect("ci/ci.toml makes no sense:\n  " + "\n  ".join(faults))
    return delivery


def _parse(data: Mapping[str, Any], environ: Mapping[str, str]) -> Delivery:
    plan, registry, scan = data["plan"], data["registry"], data["scan"]
    manifests = data["manifests"]
    render = manifests["render"]
    return Delivery(
        branch=data["delivery"]["branch"],
        tag=data["delivery"]["tag"],
        plan=PlanRules(
            ignored=tuple(plan["ignored"]),
            test_only=tuple(plan["test_only"]),
            widens_tests=tuple(plan["widens_tests"]),
            widens_builds=tuple(plan["widens_builds"]),
        ),
        registry=RegistryConfig(
            address=environ.get("ECR_REGISTRY") or registry["address"],
            namespace=registry["namespace"],
            releases=registry["releases"],
            keep=registry["keep"],
            untagged_days=registry["untagged_days"],
        ),
        scan=ScanConfig(scan["fail_on"], float(scan["wait_s"]), scan["waivers"]),
        manifests=ManifestsConfig(
            url=environ.get("MANIFEST_REPO_URL") or manifests["url"],
            branch=environ.get("MANIFEST_REPO_BRANCH") or manifests["branch"],
            author_name=manifests["author_name"],
            author_email=manifests["author_email"],
            attempts=manifests["attempts"],
            require_signature=manifests["require_signature"],
            target=Target(**manifests["target"]),
            targets={
                entry["code"]: Target(**entry["target"])
                for entry in data["service"]
                if "target" in entry
            },
            render=Render(
                tool=render["tool"],
                chart=render.get("chart", ""),
                values=tuple(render.get("values", ())),
                release=render.get("release", "{folder}"),
                namespace=render.get("namespace", "{environment}"),
                path=render.get("path", ""),
                may_change=tuple(render.get("may_change", ())),
            ),
        ),
        environments=tuple(
            Environment(entry["name"], entry.get("from")) for entry in data["environment"]
        ),
    )


def _faults(delivery: Delivery, environ: Mapping[str, str]) -> list[str]:
    faults = []
    names = [each.name for each in delivery.environments]
    if sum(each.promoted_from is None for each in delivery.environments) != 1:
        faults.append("exactly one [[environment]] has no `from`; that is where `bump` writes")
    faults += [
        f"environment {each.name!r} comes from {each.promoted_from!r}, which is not there"
        for each in delivery.environments
        if each.promoted_from is not None and each.promoted_from not in names
    ]
    faults += [f"environment {name!r} is there twice" for name in {*names} if names.count(name) > 1]
    if delivery.scan.fail_on not in SEVERITIES:
        faults.append(f"scan.fail_on {delivery.scan.fail_on!r} is not one of {SEVERITIES}")
    if delivery.manifests.render.tool not in RENDERERS:
        faults.append(f"render.tool {delivery.manifests.render.tool!r} is not one of {RENDERERS}")
    if "{build}" not in delivery.tag:
        faults.append(f"delivery.tag {delivery.tag!r} does not hold {{build}}")
    if not 1 <= delivery.manifests.attempts <= 100:
        faults.append("manifests.attempts is not between 1 and 100")
    if "://" in delivery.registry.address or delivery.registry.address.endswith("/"):
        where = "ECR_REGISTRY" if environ.get("ECR_REGISTRY") else "registry.address"
        faults.append(f"{where} {delivery.registry.address!r} is not a bare host[:port]")
    return faults
