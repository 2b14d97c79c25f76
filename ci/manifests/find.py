"""From a key path to the node it names, and what lies beside it.

Every container on the way must be written here and only here: an edit inside a container that an
alias repeats, or that a merge brings in, would change more than one place, so it is refused by
name. So are keys that stand twice and keys written with `?`. An alias as a key (`*app :`) is no
obstacle: the value behind it stands once.
"""

import difflib
from dataclasses import dataclass

from ci.errors import Refused, UsageError
from ci.manifests import quoting
from ci.manifests.document import Alias, Entry, Mapping, Node, Scalar, Sequence, YamlFile
from ci.manifests.key_path import Item, Key, KeyPath, Named, Step, written
from ci.manifests.refusals import refused

MERGE = "<<"
KEYS_SHOWN = 12
CONTAINER_TAGS = {None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True, eq=False)
class Place:
    """A node, and how it is called. parent: the mapping whose key the last step is, if one is."""

    path: KeyPath
    node: Node
    parent: Mapping | None = None
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


def find(file: YamlFile, path: KeyPath, document: int | None) -> Place:
    """What stands at `path`. document: which one of several, from 0."""
    place = Place((), _root(file, document))
    for number, step in enumerate(path):
        check_alone(file, place)
        node = place.node
        if isinstance(node, Sequence):
            place = Place(path[: number + 1], _item(file, place, node, step))
        elif isinstance(node, Mapping) and isinstance(step, Key):
            child = lookup(file, node, place.path, step.name)
            if child is None:
                raise _no_key(file, place, node, step.name)
            if child.is_inherited:
                text = (
                    f"{child.name} is inherited by a merge (<<) and not written there; "
                    "point to where it is written, or write the key"
                )
                raise file.refusal(node.start, text, "merge")
            place = child
        else:
            kind = "a mapping, not a list" if isinstance(node, Mapping) else "a single value"
            inside = f'no key "{step}"' if isinstance(step, Key) else f"no item {step}"
            text, prefix = f"{place.name} is {kind}: {inside} inside it", written(place.path)
            raise file.refusal(node.start, text, "no_match", prefix=prefix)
    return place


def check_alone(file: YamlFile, place: Place) -> None:
    """Refused when something inside `place` would be changed in two places."""
    node = place.node
    if isinstance(node, Alias):
        raise alias_refusal(file, place, node)
    if node.uses:
        times = "an alias repeats" if node.uses == 1 else f"{node.uses} aliases repeat"
        text = (
            f"{place.name} has the anchor &{node.anchor}, which {times} elsewhere; "
            "an edit inside it would change those places too"
        )
        raise file.refusal(node.start, text, "anchor")
    if not isinstance(node, Scalar) and node.tag not in CONTAINER_TAGS:
        text = f"{place.name} has the tag {node.tag}; what that means is not known"
        raise file.refusal(node.start, text, "tag")


def alias_refusal(file: YamlFile, place: Place, node: Alias) -> Refused:
    """An edit of `place` would change its anchor's place too."""
    text = (
        f"{place.name} is the alias *{node.name} of what stands at "
        f"{file.position(node.target.start)}; an edit there would change both"
    )
    return file.refusal(node.start, text, "alias")


def lookup(file: YamlFile, mapping: Mapping, path: KeyPath, name: str) -> Place | None:
    """What `mapping`, at `path`, has under `name`; None when it has nothing."""
    here = (*path, Key(name))
    own = [entry for entry in mapping.entries if _key_text(entry.key) == name]
    merged = _merged(mapping, name)
    if not own:
        if merged is None:
            return None
        return Place(here, merged.value, mapping, merged.key, is_inherited=True)
    entry, at = own[0], own[0].key.start
    if len(own) > 1:
        text = f"{written(here)} stands twice, at {_places(file, [entry.key for entry in own])}"
        raise file.refusal(at, text, "duplicate_key")
    if entry.is_complex:
        text = f"{written(here)} is written with ?; write it as a plain key"
        raise file.refusal(at, text, "complex_key")
    if merged and any(map(_is_merge, mapping.entries[mapping.entries.index(entry) + 1 :])):
        text = (
            f"{written(here)} stands before a merge (<<) that brings the same key, "
            "and readers differ in which one wins; move the merge up"
        )
        raise file.refusal(at, text, "merge")
    return Place(here, entry.value, mapping, entry.key)


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


def _item(file: YamlFile, place: Place, sequence: Sequence, step: Step) -> Node:
    """The item of the list at `place` that `step` names."""
    index = step.index if isinstance(step, Key | Item) else None
    name, count, at, prefix = place.name, len(sequence.items), sequence.start, written(place.path)
    if index is not None:
        if index < count:
            return sequence.items[index]
        text = f"{name} has no item {index}: it has {count}"
        raise file.refusal(at, text, "no_match", prefix=prefix)
    if not isinstance(step, Named):
        text = (
            f'{name} is a list of {count}, which has no key "{step}"; '
            f"name an item by number, {name}[0], or by a key of its own, {name}[name=…]"
        )
        raise file.refusal(at, text, "no_match", prefix=prefix)
    values = [_item_text(file, place, node, step.key) for node in sequence.items]
    matching = [
        node for node, value in zip(sequence.items, values, strict=True) if value == step.value
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        text = f"{name}{step} stands {len(matching)} times, at {_places(file, matching)}"
        raise file.refusal(at, text, "duplicate_key")
    # Names are told; what stands under another key may be a secret.
    shown = sorted({value for value in values if value is not None})[:KEYS_SHOWN]
    shown = shown if step.key == "name" else []
    names = f"; there are {', '.join(shown)}" if shown else ""
    text = f"{name} has no item whose {step.key} is {step.value}{names}"
    raise file.refusal(at, text, "no_match", prefix=prefix, keys=shown)


def _item_text(file: YamlFile, place: Place, node: Node, key: str) -> str | None:
    """The text the item `node` of the list at `place` has under `key`."""
    item = _resolved(node)
    child = lookup(file, item, place.path, key) if isinstance(item, Mapping) else None
    return _key_text(child.node) if child else None


def _places(file: YamlFile, nodes: list[Node]) -> str:
    return " and ".join(str(file.position(node.start)) for node in nodes)


def _no_key(file: YamlFile, place: Place, mapping: Mapping, name: str) -> Refused:
    keys = [text for entry in mapping.entries if (text := _key_text(entry.key)) is not None]
    shown = [str(Key(key)) for key in keys[:KEYS_SHOWN]]
    more = f" and {len(keys) - KEYS_SHOWN} more" if len(keys) > KEYS_SHOWN else ""
    near = difflib.get_close_matches(name, keys, n=1)
    text = (
        f"{written((*place.path, Key(name)))} is not there; {place.name} has "
        f"{', '.join(shown) or 'no key'}{more}"
    )
    if near:
        text += f". Was {written((*place.path, Key(near[0])))} meant?"
    prefix = written(place.path)
    return file.refusal(mapping.start, text, "no_match", prefix=prefix, keys=shown)
