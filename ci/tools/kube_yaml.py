"""Rendered manifests as Kubernetes parses them: objects of plain values."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ci.errors import Refused

Object = Mapping[str, Any]
TRUE = {"y", "yes", "true", "on"}
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


def _text(node: yaml.ScalarNode) -> str:
    return str(node.value).lower()


def _int(_: _Loader, node: yaml.ScalarNode) -> int:
    text = _text(node).replace("_", "")
    sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-")
    is_octal = digits.startswith("0") and digits.isdigit() and len(digits) > 1
    return sign * (int(digits, 8) if is_octal else int(digits, 0))


def _map(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    """A mapping as JSON has it, where all keys are text."""
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        problem = f"the key {twice[0]!r} comes twice"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    loader.flatten_mapping(node)
    pairs = [
        (loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
        for key, value in node.value
    ]
    return {str(key).lower() if isinstance(key, bool) else str(key): value for key, value in pairs}


CONSTRUCTORS: Mapping[str, Any] = {
    "bool": lambda _, node: _text(node) in TRUE,
    "int": _int,
    "float": lambda _, node: float(re.sub(r"\.(?=inf|nan)", "", _text(node))),
    "map": _map,
}
_Loader.yaml_implicit_resolvers = {}  # without those of the base
for _name, _pattern in TYPES.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), None
    )
for _name, _constructor in CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _constructor)
