"""Rules as YAML: what is stored, and what the API gives back; `parsing` reads it unchanged."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml
from pydantic import TypeAdapter

from data_api.rules.model import Group

_GROUP: Final = TypeAdapter(Group)
LINE_CHARACTERS_MAX: Final = 2**20  # nothing is folded


class _Dumper(yaml.CSafeDumper):
    """Texts of several lines stay lines."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def group_text(group: Group) -> str:
    """One group, as a POST of it looks."""
    return _dumped(_group(group))


def namespaces_text(namespaces: Mapping[str, Sequence[Group]]) -> str:
    """`{namespace: [group, …]}`, as Mimir's ruler answers."""
    return _dumped({name: [_group(one) for one in groups] for name, groups in namespaces.items()})


def _dumped(document: Any) -> str:
    text: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=LINE_CHARACTERS_MAX
    )
    return text


def _group(group: Group) -> Any:
    return _GROUP.dump_python(group, by_alias=True, exclude_defaults=True, exclude={"namespace"})
