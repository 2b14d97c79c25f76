"""The schemas of Kubernetes, several versions of them, out of the package `kubernetes-validate`.

Strict ones: a field that the kind does not have is a fault, not something that the API server drops
without a word. The package's own `validate` reads 1.5 MB of definitions for each object; here a
version is read once and a kind is compiled once.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from ci.errors import UsageError

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


def is_custom(item: Mapping[str, Any]) -> bool:
    """Whether a controller brings the kind, so that Kubernetes has no schema for it."""
    group, slash, _ = str(item.get("apiVersion")).partition("/")
    return bool(slash) and "." in group and group not in BUILT_IN


def faults(item: Mapping[str, Any], version: str) -> list[str]:
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


def _home() -> Traversable:
    return resources.files("kubernetes_validate") / "kubernetes-json-schema"


@cache
def _definitions(version: str) -> Registry[Any]:
    if version not in versions():
        raise UsageError(f"no schemas of Kubernetes {version}; there are {', '.join(versions())}")
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
