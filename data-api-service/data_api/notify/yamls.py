"""YAML whose places are known: each fault is told with its line and column. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import yaml

from data_api.notify.errors import BadConfiguration

TEXT_BYTES_MAX: Final = 256 * 1024
_TEXT_ONLY: Final = {"tag:yaml.org,2002:null"}


class _Loader(yaml.SafeLoader):
    """Texts stay texts, as where Go reads into a string. No aliases: one could stand for millions.
    A key that stands twice is refused.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not taken here", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                why = f"{str(key.value)[:100]} stands there twice, or is no text"
                raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# `!!int x` and the like would be read by Python's types, and fail in their words.
_Loader.yaml_constructors = {
    tag: read
    for tag, read in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in {"null", "str", "seq", "map"}
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TEXT_ONLY]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str) -> tuple[Any, Any]:
    """The node of the one document in `text`, and its value; or BadConfiguration."""
    if len(text.encode(errors="replace")) > TEXT_BYTES_MAX:
        raise BadConfiguration(detail="it is too long", limit_bytes=TEXT_BYTES_MAX)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, {} if node is None else loader.construct_document(node)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        why = getattr(exc, "problem", None) or str(exc).partition("\n")[0] or "it is not YAML"
        place = f"{mark.line + 1}:{mark.column + 1}: " if mark else ""
        raise BadConfiguration(detail=f"{place}{why}") from None
    except RecursionError:
        raise BadConfiguration(detail="it is nested too deeply") from None


def place(node: Any, path: Sequence[str | int]) -> str:
    """`line:column: ` of what `path` leads to, as far as it leads."""
    mark = node.start_mark if node is not None else None
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
        elif isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                break
            key, node = pairs[part]
            mark = key.start_mark
        else:
            break
    return f"{mark.line + 1}:{mark.column + 1}: " if mark else ""


def masked(node: Any, secrets: frozenset[str], mask: str) -> str:
    """The document as YAML without comments; `mask` for each scalar that holds a secret."""
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, yaml.ScalarNode):
            if any(text == one.value or (len(text) > 7 and text in one.value) for text in secrets):
                one.value, one.style = mask, None
        elif isinstance(one, yaml.MappingNode):
            pending.extend(part for pair in one.value for part in pair)
        else:
            pending.extend(one.value)
    return yaml.serialize(node, Dumper=yaml.SafeDumper, allow_unicode=True)
