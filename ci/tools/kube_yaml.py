"""Rendered manifests as Kubernetes parses them: objects of plain values."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml

from ci.errors import Refused

Object = Mapping[str, Any]
TYPES = {
    "bool": "(?:y|Y|n|N|(?:yes|no|true|false|on|off)|(?:Yes|No|True|False|On|Off)"
    "|(?:YES|NO|TRUE|FALSE|ON|OFF))",
    "null": "(?:~|null|Null|NULL|)",
    "merge": "<<",
    "int": "[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)",
    "float": r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
}


class DoesNotRender(Refused):
    """Helm or kustomize refuses these manifests, in their own words."""

    status = "does_not_render"


class _Loader(yaml.CSafeLoader):
    """YAML as the library of Kubernetes and Helm (go-yaml v2) types it, JSON values only.

    YAML 1.1 with its `yes` and `on`, but numbers need no dot before an exponent, there are no
    sexagesimals, and what looks like a time stays text. A key that comes twice is an error.
    """

    bool_values: ClassVar[dict[str, bool]] = yaml.CSafeLoader.bool_values | {"y": True, "n": False}


def parse(text: str) -> list[Object]:
    """The objects in `text`, empty documents left out; `DoesNotRender` when it is no such thing."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError) as exc:
        raise DoesNotRender(f"what was rendered is not YAML: {exc}") from exc
    objects: list[Object] = []
    for document in (document for document in documents if document is not None):
        if not isinstance(document, dict) or not document.get("kind"):
            kind = type(document).__name__
            raise DoesNotRender(f"what was rendered is no Kubernetes object, but a {kind}")
        items = document.get("items")
        is_list = str(document["kind"]).endswith("List") and isinstance(items, list)
        objects += items if is_list and items is not None else [document]
    return objects


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    """PyYAML's, and `0o17`."""
    node.value = node.value.replace("0o", "0")
    return int(loader.construct_yaml_int(node))


def _map(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    """A mapping as JSON has it, where all keys are text."""
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        problem = f"the key {twice[0]!r} comes twice"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    pairs = loader.construct_mapping(node, deep=True).items()
    return {str(key).lower() if isinstance(key, bool) else str(key): value for key, value in pairs}


_Loader.yaml_implicit_resolvers = {}  # without those of the base
for _name, _pattern in TYPES.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), None
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _map)
