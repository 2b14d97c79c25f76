"""From a key path to the node it names, and what lies beside it.

Every container on the way must be written here and only here: an edit inside a container that an
alias repeats, or that a merge brings in, would change more than one place, so it is refused by
name. So are keys that stand twice and keys written with `?`. An alias as a key (`*app :`) is no
obstacle: the value behind it stands once.
"""

import difflib
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Any

from ci.errors import Refused, UsageError
from ci.manifests import quoting
from ci.manifests.document import LINE, Alias, Entry, Mapping, Node, Scalar, Sequence, YamlFile
from ci.manifests.key_path import Item, Key, KeyPath, Named, Step, written
from ci.manifests.refusals import refused

MERGE = "<<"
KEYS_SHOWN = 12
STR = "tag:yaml.org,2002:str"
CONTAINER_TAGS = {None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True, eq=False)
class Place:
    """A node, and how it is called. parent: the mapping whose key the last step is, if one is."""

    file: YamlFile
    path: KeyPath
    node: Node
    parent: "Place | None" = None
    key: Node | None = None
    is_inherited: bool = False

    @property
    def name(self) -> str:
        """What messages call it; the root has no name of its own."""
        return written(self.path) or "the document"

    @property
    def value(self) -> Node:
        """The node, or what it is an alias of."""
        return _resolved(self.node)

    @property
    def text(self) -> str:
        """The text of a scalar, also behind an alias; empty for a null, or what is no scalar."""
        node = self.value
        if not isinstance(node, Scalar) or quoting.is_null(node.value, node.style):
            return ""
        return node.value

    def refusal(self, why: str, status: str, at: Node | None = None, **facts: Any) -> Refused:
        """`Refused` that says why this place, or the node `at`, is not edited."""
        start = (at or self.node).start
        return self.file.refusal(start, f"{self.name} {why}", status, **facts)

    def child(self, name: str) -> "Place | None":
        """What the mapping has under `name`; None when it has nothing."""
        mapping, here = self.value, (*self.path, Key(name))
        assert isinstance(mapping, Mapping)
        own = [entry for entry in mapping.entries if _key_text(entry.key) == name]
        merged = _merged(mapping, name)
        if not own:
            if merged is None:
                return None
            return Place(self.file, here, merged.value, self, merged.key, is_inherited=True)
        entry = own[0]
        place = Place(self.file, here, entry.value, self, entry.key)
        if len(own) > 1:
            places = _places(self.file, [entry.key for entry in own])
            raise place.refusal(f"stands twice, at {places}", "duplicate_key", entry.key)
        if entry.is_complex:
            why = "is written with ?; write it as a plain key"
            raise place.refusal(why, "complex_key", entry.key)
        if merged and any(map(_is_merge, mapping.entries[mapping.entries.index(entry) + 1 :])):
            why = (
                "stands before a merge (<<) that brings the same key, "
                "and readers differ in which one wins; move the merge up"
            )
            raise place.refusal(why, "merge", entry.key)
        return place

    def scalars(self, keys: Table[str, tuple[str, ...]]) -> "dict[str, Place]":
        """For each role, what stands under the first of its keys that holds a scalar."""
        places = {}
        for role, names in keys.items():
            children = (self.child(name) for name in names)
            scalars = (child for child in children if child and isinstance(child.value, Scalar))
            if place := next(scalars, None):
                places[role] = place
        return places


def find(file: YamlFile, path: KeyPath, document: int | None) -> Place:
    """What stands at `path`, a mapping of its own, a list, or a text in one line.

    document: which one of several, from 0.
    """
    place = Place(file, (), _root(file, document))
    for number, step in enumerate(path):
        _check_alone(place)
        node = place.node
        if isinstance(node, Sequence):
            place = Place(file, path[: number + 1], _item(place, node, step))
        elif isinstance(node, Mapping) and isinstance(step, Key):
            child = place.child(step.name)
            if child is None:
                raise _no_key(place, node, step)
            if child.is_inherited:
                why = (
                    "is inherited by a merge (<<) and not written there; "
                    "point to where it is written, or write the key"
                )
                raise child.refusal(why, "merge", node)
            place = child
        else:
            kind = "a mapping, not a list" if isinstance(node, Mapping) else "a single value"
            inside = f'no key "{step}"' if isinstance(step, Key) else f"no item {step}"
            prefix = written(place.path)
            raise place.refusal(f"is {kind}: {inside} inside it", "no_match", prefix=prefix)
    if isinstance(place.value, Mapping):
        _check_alone(place)
    elif isinstance(place.value, Scalar):
        _check_one_line(place, place.value)
    return place


def _check_alone(place: Place) -> None:
    """Refused when something inside `place` would be changed in two places."""
    node = place.node
    _check_no_alias(place)
    if node.uses:
        times = "an alias repeats" if node.uses == 1 else f"{node.uses} aliases repeat"
        why = (
            f"has the anchor &{node.anchor}, which {times} elsewhere; "
            "an edit inside it would change those places too"
        )
        raise place.refusal(why, "anchor")
    if not isinstance(node, Scalar) and node.tag not in CONTAINER_TAGS:
        raise place.refusal(f"has the tag {node.tag}; what that means is not known", "tag")


def _check_one_line(place: Place, node: Scalar) -> None:
    """Refused unless `node`, the scalar of `place`, is one piece of text in one line."""
    if node.style in {"|", ">"}:
        why = f"is a block scalar ({node.style}); write it in one line"
        raise place.refusal(why, "block_scalar")
    if LINE.search(place.file.text, node.value_start, node.value_end):
        raise place.refusal("goes over several lines; write it in one", "multi_line")
    if "{{" in node.value:
        raise place.refusal("is a template; name the values it reads", "unreadable")


def check_writable(place: Place, node: Scalar) -> None:
    """Refused unless `node`, the scalar of `place`, can be changed and nothing else with it."""
    if place.is_inherited:
        raise place.refusal("is inherited by a merge (<<) and not written there", "merge")
    _check_no_alias(place)
    _check_one_line(place, node)
    if node.uses:
        why = (
            f"has the anchor &{node.anchor}, repeated by {node.uses} alias"
            f"{'es' * (node.uses > 1)} elsewhere; an edit would change those too"
        )
        raise place.refusal(why, "anchor")
    if node.tag not in {None, STR}:
        raise place.refusal(f"has the tag {node.tag}; only !!str is kept", "tag")
    if node.is_unwritten and not node.insertable:
        raise place.refusal(f"is a key without a colon; write {place.name}:", "no_slot")


def _check_no_alias(place: Place) -> None:
    if isinstance(place.node, Alias):
        why = (
            f"is the alias *{place.node.name} of what stands at "
            f"{place.file.position(place.node.target.start)}; an edit there would change both"
        )
        raise place.refusal(why, "alias")


def _root(file: YamlFile, document: int | None) -> Node:
    """The document meant: the only one, or the one `document` counts from 0."""
    count = len(file.documents)
    if document is not None and document < 0:
        raise UsageError(f"document {document}: documents are counted from 0")
    if count == 0:
        raise refused("the file is empty: no document in it", "no_match")
    if document is None and count > 1:
        text = f"{count} documents in the file; say which one, from 0 to {count - 1}"
        raise file.refusal(file.documents[1].start, text, "documents", documents=count)
    if (document or 0) >= count:
        numbers = "only document 0" if count == 1 else f"documents 0 to {count - 1}"
        text = f"no document {document}: the file has {numbers}"
        raise refused(text, "documents", documents=count)
    return file.documents[document or 0]


def _resolved(node: Node) -> Node:
    return node.target if isinstance(node, Alias) else node


def _key_text(key: Node) -> str | None:
    key = _resolved(key)
    return key.value if isinstance(key, Scalar) else None


def _is_merge(entry: Entry) -> bool:
    return isinstance(entry.key, Scalar) and entry.key.value == MERGE and not entry.key.style


def _merged(mapping: Mapping, name: str) -> Entry | None:
    """The entry a merge brings in under `name`: of the first mapping that has it."""
    waiting, seen = [mapping], {id(mapping)}
    while waiting:
        for entry in filter(_is_merge, waiting.pop().entries):
            value = _resolved(entry.value)
            sources = value.items if isinstance(value, Sequence) else [value]
            for source in map(_resolved, sources):
                if not isinstance(source, Mapping) or id(source) in seen:
                    continue
                seen.add(id(source))
                for candidate in source.entries:
                    if _key_text(candidate.key) == name:
                        return candidate
                waiting.append(source)
    return None


def _item(place: Place, sequence: Sequence, step: Step) -> Node:
    """The item of the list at `place` that `step` names."""
    index = step.index if isinstance(step, Key | Item) else None
    name, count, prefix = place.name, len(sequence.items), written(place.path)
    if index is not None:
        if index < count:
            return sequence.items[index]
        raise place.refusal(f"has no item {index}: it has {count}", "no_match", prefix=prefix)
    if not isinstance(step, Named):
        why = (
            f'is a list of {count}, which has no key "{step}"; '
            f"name an item by number, {name}[0], or by a key of its own, {name}[name=…]"
        )
        raise place.refusal(why, "no_match", prefix=prefix)
    texts = [_item_text(place, node, step.key) for node in sequence.items]
    matching = [number for number, text in enumerate(texts) if text == step.value]
    if len(matching) == 1:
        return sequence.items[matching[0]]
    if matching:
        places = _places(place.file, [sequence.items[number] for number in matching])
        why = f"{name}{step} stands {len(matching)} times, at {places}"
        raise place.file.refusal(sequence.start, why, "duplicate_key")
    # Names are told; what stands under another key may be a secret.
    names = {text for text in texts if text is not None} if step.key == "name" else set()
    shown = sorted(names)[:KEYS_SHOWN]
    why = f"has no item whose {step.key} is {step.value}"
    why += f"; there are {', '.join(shown)}" if shown else ""
    raise place.refusal(why, "no_match", prefix=prefix, keys=shown)


def _item_text(place: Place, node: Node, key: str) -> str | None:
    """The text the item `node` of the list at `place` has under `key`."""
    if not isinstance(_resolved(node), Mapping):
        return None
    child = Place(place.file, place.path, node).child(key)
    return _key_text(child.node) if child else None


def _places(file: YamlFile, nodes: list[Node]) -> str:
    return " and ".join(str(file.position(node.start)) for node in nodes)


def _no_key(place: Place, mapping: Mapping, step: Key) -> Refused:
    keys = [text for entry in mapping.entries if (text := _key_text(entry.key)) is not None]
    shown = [str(Key(key)) for key in keys[:KEYS_SHOWN]]
    more = f" and {len(keys) - KEYS_SHOWN} more" if len(keys) > KEYS_SHOWN else ""
    why = f"is not there; {place.name} has {', '.join(shown) or 'no key'}{more}"
    if near := difflib.get_close_matches(step.name, keys, n=1):
        why += f". Was {written((*place.path, Key(near[0])))} meant?"
    missing = Place(place.file, (*place.path, step), mapping)
    return missing.refusal(why, "no_match", prefix=written(place.path), keys=shown)
