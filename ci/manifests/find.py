"""From a key path to the node it names, and what lies beside it.

Every container on the way must be written here and only here: an edit inside one that an alias
repeats, or a merge brings in, would change more than one place, so it is refused by name.
"""

import difflib
from dataclasses import dataclass

from ci.errors import Refused
from ci.manifests.document import LINE, Entry, Node, YamlFile
from ci.manifests.key_path import Key, KeyPath, Named, Step, written

KEYS_SHOWN = 12
CONTAINER_TAGS = {None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
INHERITED = "is inherited by a merge (<<) and not written there"


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
    def text(self) -> str:
        """What a scalar says, also behind an alias; empty for a null, or what is no scalar."""
        return self.node.resolved.text

    def refusal(self, why: str, status: str, at: Node | None = None) -> Refused:
        """`Refused` that says why this place, or the node `at`, is not edited."""
        return self.file.refusal(f"{self.name} {why}", status, (at or self.node).start)

    def child(self, name: str) -> "Place | None":
        """What a mapping has under `name`; None when it has nothing, or is no mapping."""
        entries, path = self.node.resolved.entries, (*self.path, Key(name))
        own = [number for number, entry in enumerate(entries) if entry.name == name]
        merged = _merged(self.node.resolved, name)
        if not own:
            if merged is None:
                return None
            return Place(self.file, path, merged.value, self, merged.key, is_inherited=True)
        entry = entries[own[0]]
        place = Place(self.file, path, entry.value, self, entry.key)
        if len(own) > 1:
            why = f"stands twice, at {self.file.positions(*(entries[n].key.start for n in own))}"
            raise place.refusal(why, "duplicate_key", entry.key)
        if entry.is_complex:
            why = "is written with ?; write it as a plain key"
            raise place.refusal(why, "complex_key", entry.key)
        if merged and any(other.is_merge for other in entries[own[0] + 1 :]):
            why = "stands before a merge (<<) that brings the same key, and readers differ in which"
            raise place.refusal(f"{why} one wins; move the merge up", "merge", entry.key)
        return place

    def check_alone(self) -> None:
        """Refused when something inside would be changed in two places."""
        node = self.node
        self.check_no_alias()
        if node.uses:
            times = "an alias repeats" if node.uses == 1 else f"{node.uses} aliases repeat"
            why = f"has the anchor &{node.anchor}, which {times} elsewhere; an edit inside it would"
            raise self.refusal(f"{why} change those places too", "anchor")
        if node.kind != "scalar" and node.tag not in CONTAINER_TAGS:
            raise self.refusal(f"has the tag {node.tag}; what that means is not known", "tag")

    def check_one_line(self) -> None:
        """Refused when a scalar is more than one piece of text in one line."""
        node = self.node.resolved
        if node.style in {"|", ">"}:
            why = f"is a block scalar ({node.style}); write it in one line"
            raise self.refusal(why, "block_scalar")
        if LINE.search(self.file.text, node.value_start, node.value_end):
            raise self.refusal("goes over several lines; write it in one", "multi_line")
        if "{{" in node.value:
            raise self.refusal("is a template; name the values it reads", "unreadable")

    def check_no_alias(self) -> None:
        """Refused when the value is that of another place."""
        if target := self.node.target:
            name, at = target.anchor, self.file.positions(target.start)
            why = f"is the alias *{name} of what stands at {at}; an edit there would change both"
            raise self.refusal(why, "alias")


def find(file: YamlFile, path: KeyPath, document: int | None) -> Place:
    """What stands at `path`: a mapping of its own, a list, or a text in one line."""
    place = Place(file, (), _root(file, document))
    for number, step in enumerate(path):
        place.check_alone()
        if place.node.kind == "sequence":
            place = Place(file, path[: number + 1], _item(place, step))
        elif place.node.kind == "mapping" and isinstance(step, Key):
            child = place.child(step.name)
            if child is None:
                raise _no_key(place, step)
            if child.is_inherited:
                why = f"{INHERITED}; point to where it is written, or write the key"
                raise child.refusal(why, "merge", place.node)
            place = child
        else:
            kind = "a mapping, not a list" if place.node.kind == "mapping" else "a single value"
            inside = f'no key "{step}"' if isinstance(step, Key) else f"no item {step}"
            raise place.refusal(f"is {kind}: {inside} inside it", "no_match")
    if place.node.resolved.kind == "mapping":
        place.check_alone()
    place.check_one_line()
    return place


def _root(file: YamlFile, document: int | None) -> Node:
    """The document meant: the only one, or the one `document` counts from 0."""
    count = len(file.documents)
    if count == 0:
        raise file.refusal("the file is empty: no document in it", "no_match")
    if document is None and count > 1:
        text = f"{count} documents in the file; say which one, from 0 to {count - 1}"
        raise file.refusal(text, "documents", file.documents[1].start)
    if (document or 0) >= count:
        raise file.refusal(f"no document {document}: the last is number {count - 1}", "documents")
    return file.documents[document or 0]


def _merged(mapping: Node, name: str) -> Entry | None:
    """The entry a merge brings in under `name`: of the first mapping that has it."""
    waiting, seen = [mapping], {id(mapping)}
    while waiting:
        for value in (entry.value.resolved for entry in waiting.pop().entries if entry.is_merge):
            for source in (item.resolved for item in value.items or [value]):
                if id(source) not in seen:
                    seen.add(id(source))
                    waiting.append(source)
                    if own := [entry for entry in source.entries if entry.name == name]:
                        return own[0]
    return None


def _item(place: Place, step: Step) -> Node:
    """The item of the list at `place` that `step` names."""
    items, name = place.node.items, place.name
    if isinstance(step, Named):
        children = [Place(place.file, place.path, item).child(step.key) for item in items]
        nodes = [child.node.resolved if child else None for child in children]
        texts = [node.value if node and node.kind == "scalar" else None for node in nodes]
        matching = [item for item, text in zip(items, texts, strict=True) if text == step.value]
        if len(matching) == 1:
            return matching[0]
        if matching:
            starts = place.file.positions(*(item.start for item in matching))
            why = f"stands {len(matching)} times, at {starts}"
            named = Place(place.file, (*place.path, step), place.node)
            raise named.refusal(why, "duplicate_key")
        # names are told; what stands under another key may be a secret
        names = sorted({text for text in texts if text}) if step.key == "name" else []
        why = f"has no item whose {step.key} is {step.value}"
        why += f"; there are {', '.join(names[:KEYS_SHOWN])}" if names else ""
    elif step.index is None:
        why = f'is a list of {len(items)}, which has no key "{step}"; name an item by number,'
        why += f" {name}[0], or by a key of its own, {name}[name=…]"
    elif step.index < len(items):
        return items[step.index]
    else:
        why = f"has no item {step.index}: it has {len(items)}"
    raise place.refusal(why, "no_match")


def _no_key(place: Place, step: Key) -> Refused:
    keys = [entry.name for entry in place.node.entries if entry.name is not None]
    shown = ", ".join(str(Key(key)) for key in keys[:KEYS_SHOWN]) or "no key"
    more = f" and {len(keys) - KEYS_SHOWN} more" if len(keys) > KEYS_SHOWN else ""
    near = difflib.get_close_matches(step.name, keys, n=1)
    meant = f". Was {written((*place.path, Key(near[0])))} meant?" if near else ""
    missing = Place(place.file, (*place.path, step), place.node)
    return missing.refusal(f"is not there; {place.name} has {shown}{more}{meant}", "no_match")
