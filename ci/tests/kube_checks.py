"""What Kubernetes and the usual controllers have against a manifest, by schema and by field.

Schemas of Kubernetes: several versions of them, strict ones (a field that the kind does not have is
a fault, not something that the API server drops without a word), out of `kubernetes-validate`. A
version is read once and a kind is compiled once.

Argo CD's, External Secrets' and the Prometheus operator's kinds have no schema in any package, so a
small list of ours says which fields they must have and may have. It catches the misspelt field and
the missing one, not every wrong value. Source: the CRDs' own reference pages.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Object = Mapping[str, Any]

# Of a kind: the fields of `spec` that there may be, and paths that must be there (`*`: each item).
APPLICATION = {
    "project", "source", "sources", "destination", "syncPolicy", "ignoreDifferences", "info",
    "revisionHistoryLimit",
}  # fmt: skip
CUSTOM: Mapping[str, tuple[set[str], tuple[str, ...]]] = {
    "argoproj.io/v1alpha1 Application": (
        APPLICATION,
        ("project", "source.repoURL", "source.path", "source.targetRevision", "destination"),
    ),
    "argoproj.io/v1alpha1 ApplicationSet": (
        {
            "generators", "template", "templatePatch", "goTemplate", "goTemplateOptions",
            "syncPolicy", "strategy", "preservedFields", "ignoreApplicationDifferences",
            "applyNestedSelectors",
        },
        ("generators", "template.metadata.name", "template.spec.project",
         "template.spec.source.repoURL", "template.spec.destination"),
    ),
    "argoproj.io/v1alpha1 AppProject": (
        {
            "description", "sourceRepos", "sourceNamespaces", "destinations", "roles",
            "clusterResourceWhitelist", "clusterResourceBlacklist", "namespaceResourceWhitelist",
            "namespaceResourceBlacklist", "orphanedResources", "syncWindows", "signatureKeys",
            "destinationServiceAccounts", "permitOnlyProjectScopedClusters",
        },
        ("sourceRepos", "destinations.*.namespace"),
    ),
    "external-secrets.io/v1 ExternalSecret": (
        {"refreshInterval", "refreshPolicy", "secretStoreRef", "target", "data", "dataFrom"},
        ("secretStoreRef.kind", "secretStoreRef.name", "target.name",
         "data.*.secretKey", "data.*.remoteRef.key", "data.*.remoteRef.property"),
    ),
    "monitoring.coreos.com/v1 ServiceMonitor": (
        {
            "selector", "endpoints", "namespaceSelector", "jobLabel", "targetLabels",
            "podTargetLabels", "sampleLimit", "attachMetadata",
        },
        ("selector", "endpoints.*.port", "endpoints.*.path"),
    ),
}  # fmt: skip
OWN_TEMPLATES = {"Deployment", "StatefulSet", "DaemonSet"}


def title(item: Object) -> str:
    """Kind and name, as a person says it."""
    return f"{item.get('kind')} {(item.get('metadata') or {}).get('name')}"


def has_shape(item: Object) -> bool:
    """Whether the list above has the kind."""
    return _kind(item) in CUSTOM


def shape_faults(item: Object) -> list[str]:
    """What is wrong with an object of a known custom kind, one line each."""
    spec = item.get("spec") or {}
    may, must = CUSTOM[_kind(item)]
    lines = [f"{title(item)}: spec has no field {name!r}" for name in spec if name not in may]
    lines += [
        f"{title(item)}: spec.{path} is missing"
        for path in must
        if any(value in (None, "", [], {}) for value in _at(spec, path.split(".")))
    ]
    return lines


def faults_together(objects: Sequence[Object]) -> list[str]:
    """What is wrong with the objects of one namespace taken together, one line each.

    Two of the same name that differ overwrite each other for ever; a selector that its own pods do
    not match is refused by every cluster.
    """
    fields: dict[tuple[str, str, str], set[str]] = {}
    for item in objects:
        group = str(item.get("apiVersion")).partition("/")[0]
        namespace = (item.get("metadata") or {}).get("namespace") or ""
        fields.setdefault((group, namespace, title(item)), set()).add(repr(item))
    lines = [
        f"{name} is there {len(texts)} times, each another"
        for (_, _, name), texts in fields.items()
        if len(texts) > 1
    ]
    for item in objects:
        if item.get("kind") in OWN_TEMPLATES:
            spec = item.get("spec") or {}
            wanted = (spec.get("selector") or {}).get("matchLabels") or {}
            labels = _first(spec, "template.metadata.labels") or {}
            if not wanted.items() <= labels.items():
                lines.append(f"{title(item)}: its selector does not match its own pods")
    return lines


def _kind(item: Object) -> str:
    return f"{item.get('apiVersion')} {item.get('kind')}"


def _first(item: Any, path: str) -> Any:
    return next(_at(item, path.split(".")), None)


def _at(item: Any, path: Sequence[str]) -> Iterator[Any]:
    """Every value at `path`; None where a step of it is not there."""
    if not path:
        yield item
    elif path[0] == "*":
        for each in item if isinstance(item, list) else [None]:
            yield from _at(each, path[1:])
    else:
        yield from _at(item.get(path[0]) if isinstance(item, Mapping) else None, path[1:])


BUILT_IN = {
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
}


@cache
def versions() -> tuple[str, ...]:
    """Those there are schemas of, oldest first, as `1.30`."""
    matches = (
        re.fullmatch(r"v(1\.\d+)\.\d+-local-strict", each.name) for each in _home().iterdir()
    )
    return tuple(sorted((each[1] for each in matches if each), key=lambda text: int(text[2:])))


def is_custom(item: Object) -> bool:
    """Whether a controller brings the kind, so that Kubernetes has no schema for it."""
    group, slash, _ = str(item.get("apiVersion")).partition("/")
    return bool(slash) and "." in group and group not in BUILT_IN


def schema_faults(item: Object, version: str) -> list[str]:
    """What Kubernetes `version` has against the object, one line each; empty when nothing.

    A kind of its own that it does not know (a beta that was taken away) is a fault.
    """
    validator = _validator(str(item.get("kind")), str(item.get("apiVersion")), version)
    if validator is None:
        return [f"{item.get('apiVersion')} {item.get('kind')} does not exist there"]
    is_secret = item.get("kind") == "Secret"  # whose values are in the messages
    return [
        f"{'.'.join(map(str, error.absolute_path)) or 'the object'}: "
        f"{'is not what the schema has' if is_secret else error.message[:300]}"
        for error in validator.iter_errors(item)
    ]


def _home() -> Any:
    return resources.files("kubernetes_validate") / "kubernetes-json-schema"


@cache
def _definitions(version: str) -> Registry[Any]:
    text = (_home() / f"v{version}.0-local-strict" / "_definitions.json").read_text("utf-8")
    resource = Resource.from_contents(json.loads(text), default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("_definitions.json", resource).crawl()
    return registry


@cache
def _validator(kind: str, api_version: str, version: str) -> Draft202012Validator | None:
    registry = _definitions(version)
    group, slash, name = api_version.partition("/")
    suffix = f"{group.partition('.')[0]}-{name}" if slash else group
    file = _home() / f"v{version}.0-local-strict" / f"{kind.lower()}-{suffix}.json"
    if not file.is_file():
        return None
    return Draft202012Validator(json.loads(file.read_text("utf-8")), registry=registry)


def everything(objects: Sequence[Object], versions_asked: Sequence[str]) -> list[str]:
    """What is wrong with the objects of one namespace, one line each."""
    lines = faults_together(objects)
    for item in objects:
        if has_shape(item):
            lines += shape_faults(item)
        else:
            assert not is_custom(item), f"nobody checks {title(item)}"
            for version in versions_asked:
                lines += [
                    f"{title(item)}: {version}: {line}" for line in schema_faults(item, version)
                ]
    return lines
