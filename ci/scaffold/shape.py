"""What can be said of objects without a schema: PURE.

Argo CD's, External Secrets' and the Prometheus operator's kinds have no schema in any package, so a
small list of ours says which fields they must have and may have. It catches the misspelt field and
the missing one, not every wrong value. Source: the CRDs' own reference pages.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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


def is_known(item: Object) -> bool:
    """Whether the list above has the kind."""
    return _kind(item) in CUSTOM


def faults(item: Object) -> list[str]:
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
