"""YAML of tenants whose places are known: each fault is told with its line and column. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

DEPTH_MAX: Final = 100  # of lists and mappings inside one another
NODE_BYTES: Final = 16  # that each list, mapping and text counts besides its text
_NULL: Final = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where; line and column from 1."""

    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.text}"


class BadYaml(Exception):
    """The text is no YAML that is taken."""

    def __init__(self, mark: Any, text: str) -> None:
        super().__init__(text)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        self.fault = Fault(line, column, text)


class Composer(yaml.composer.Composer, yaml.CSafeLoader):
    """Nodes of a text, made in Python out of libyaml's events: other threads go on meanwhile.

    An alias counts as all that it stands for, since a few can stand for gigabytes.
    """

    def __init__(self, text: str, bytes_max: int) -> None:
        yaml.CSafeLoader.__init__(self, text)
        yaml.composer.Composer.__init__(self)
        self._bytes_left = 2 * bytes_max  # the text, and as much for its nodes
        self._depth = 0
        self._sizes: dict[str, int] = {}  # by anchor

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The node of the next event. Raises BadYaml beyond a bound."""
        event: Any = self.peek_event()
        before = self._bytes_left
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise BadYaml(event.start_mark, "yaml: exceeded maximum nesting depth")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._sizes:
                raise BadYaml(event.start_mark, "yaml: an alias stands inside of its own anchor")
            self._bytes_left -= self._sizes[event.anchor]
        else:
            text = node.value if isinstance(node, yaml.ScalarNode) else ""
            self._bytes_left -= NODE_BYTES + len(text)
            if event.anchor is not None:
                self._sizes[event.anchor] = before - self._bytes_left
        if self._bytes_left < 0:
            problem = "yaml: too many nodes, or too much text behind aliases"
            raise BadYaml(event.start_mark, problem)
        return node


def read(text: str, bytes_max: int) -> tuple[Any, Any]:
    """The node of the one document in `text`, and its value; None for both when it is empty.

    Every scalar is the text that is written, or None. Raises BadYaml.
    """
    try:
        if (size := len(text.encode())) > bytes_max:
            raise BadYaml(None, f"{size} bytes, the limit is {bytes_max}")
        node = Composer(text, bytes_max).get_single_node()
        return node, None if node is None else _value(node)
    except yaml.MarkedYAMLError as exc:
        problem = f"yaml: {exc.problem or exc.context}"
        raise BadYaml(exc.problem_mark or exc.context_mark, problem) from None
    except (yaml.YAMLError, UnicodeError) as exc:
        raise BadYaml(None, f"yaml: {str(exc).splitlines()[0]}") from None


def _value(node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == _NULL else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(one) for one in node.value]
    values: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value in values:
            problem = f'mapping key "{str(key.value)[:100]}" already defined, or no text'
            raise BadYaml(key.start_mark, problem)
        values[key.value] = _value(value)
    return values


def fault(node: Any, path: Sequence[str | int], text: str, *, at_key: bool = False) -> Fault:
    """The fault at the value that `path` leads to, as far as it leads; at_key: at its key."""
    mark = node.start_mark if node is not None else None
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = key = node.value[part]
        elif isinstance(node, yaml.MappingNode) and part in (keys := _keys(node)):
            key, node = keys[part]
        else:
            break
        mark = (key if at_key else node).start_mark
    return BadYaml(mark, text).fault


def _keys(node: yaml.MappingNode) -> dict[str | int, Any]:
    return {key.value: (key, value) for key, value in node.value}
