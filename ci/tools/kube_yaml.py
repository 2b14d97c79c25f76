"""Rendered manifests as Kubernetes parses them: objects of plain values."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ci.errors import Refused

Object = Mapping[str, Any]


class DoesNotRender(Refused):
    """Helm or kustomize refuses these manifests, in their own words."""

    status = "does_not_render"


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]  # libyaml is ten times faster, where it is there
    """YAML as the library of Kubernetes and Helm (go-yaml v2) types it, JSON values only.

    YAML 1.1 with its `yes` and `on`, but numbers need no dot before an exponent, there are no
    sexagesimals, and what looks like a time stays text. A key that comes twice is an error.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  as in the base


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"),
    list("yYnNtTfFoO"),
)  # fmt: skip
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
    list("-+0123456789."),
)  # fmt: skip


def _bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return str(loader.construct_scalar(node)).lower() in {"y", "yes", "true", "on"}


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-")
    octal = digits.startswith("0") and digits.isdigit() and len(digits) > 1
    return sign * (int(digits, 8) if octal else int(digits, 0))


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _map(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    written = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if twice := sorted({key for key in written if written.count(key) > 1}):
        raise yaml.constructor.ConstructorError(
            None, None, f"the key {twice[0]!r} comes twice", node.start_mark
        )
    loader.flatten_mapping(node)
    return {
        _key(loader.construct_object(key, deep=True)): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _key(key: object) -> str:
    """A key as JSON has it, where all are text."""
    return str(key).lower() if isinstance(key, bool) else str(key)


_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:map", _map)


def parse(text: str) -> list[Object]:
    """The objects in `text`, empty documents left out; `DoesNotRender` when it is no such thing."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError) as exc:
        raise DoesNotRender(f"what was rendered is not YAML: {exc}") from exc
    objects: list[Object] = []
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or not document.get("kind"):
            kind = type(document).__name__
            raise DoesNotRender(f"what was rendered is no Kubernetes object, but a {kind}")
        items = document.get("items")
        is_list = str(document["kind"]).endswith("List") and isinstance(items, list)
        objects += items if is_list and items is not None else [document]
    return objects
