"""Nodes of YAML that whoever sends it cannot make too many."""

from typing import Any, Final

import yaml

DEPTH_MAX: Final = 100  # of lists and mappings inside one another
NODE_BYTES: Final = 16  # that each list, mapping and text counts besides its text


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
        """The node of the next event. Raises ComposerError beyond a bound."""
        event: Any = self.peek_event()
        before = self._bytes_left
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _too_much("exceeded maximum nesting depth", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._sizes:
                raise _too_much("an alias stands inside of its own anchor", event)
            self._bytes_left -= self._sizes[event.anchor]
        else:
            text = node.value if isinstance(node, yaml.ScalarNode) else ""
            self._bytes_left -= NODE_BYTES + len(text)
            if event.anchor is not None:
                self._sizes[event.anchor] = before - self._bytes_left
        if self._bytes_left < 0:
            raise _too_much("too many nodes, or too much text behind aliases", event)
        return node


def _too_much(problem: str, event: Any) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, problem, event.start_mark)
