"""From a key path to the node it names, and what lies beside it.

Every container on the way must be written here and only here: an edit inside a container that an
alias repeats, or that a merge brings in, would change more than one place, so it is refused by
name. So are keys that stand twice and keys written with `?`.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from ci.errors import Refused, UsageError
from ci.manifests.document import Alias, Entry, Mapping, Node, Scalar, Sequence, Text
from ci.manifests.key_path import Item, Key, KeyPath, Named, Step, written
from ci.manifests.refusals import refused

MERGE = "<<"
KEYS_SHOWN = 12
CONTAINER_TAGS = {None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True, eq=False)
class Found:
    """A node, and how it is called. parent: the mapping whose key the last step is, if one is."""

    path: KeyPath
    node: Node
    parent: Mapping | None
    key: Node | None
    inherited: bool = False


def root_of(text: Text, document: int | None) -> Node:
    """The document meant: the only one, or the one `document` counts from 0."""
    count = len(text.documents)
    if document is not None and document < 0:
        raise UsageError(f"document {document}: documents are counted from 0")
    if count == 0:
        raise refused("the file is empty: no document in it", "no_match")
    if document is None and count > 1:
        raise refused(
            f"{count} documents in the file; say which one, from 0 to {count - 1}",
            "documents",
            text.position(text.documents[1].start),
            documents=count,
        )
    if (document or 0) >= count:
        told = "only document 0" if count == 1 else f"documents 0 to {count - 1}"
        raise refused(f"no document {document}: the file has {told}", "documents", documents=count)
    return text.documents[document or 0]


def find(text: Text, path: KeyPath, document: int | None) -> Found:
    """The node at `path`."""
    found = Found((), root_of(text, document), None, None)
    for number, step in enumerate(path):
        passed = enterable(text, found)
        if isinstance(passed, Sequence):
            node = _item(text, passed, found.path, step)
            found = Found(path[: number + 1], node, None, None)
        elif isinstance(passed, Mapping) and isinstance(step, Key):
            child = lookup(text, passed, found.path, step.name)
            if child is None:
                raise _no_match(text, found, step.name, list(names(passed)))
            if child.inherited:
                raise refused(
                    f"{written(child.path)} is inherited by a merge (<<) and not written there; "
                    "point to where it is written, or write the key",
                    "merge",
                    text.position(passed.start),
                )
            found = child
        else:
            raise _wrong_kind(text, found, passed, step)
    return found


def enterable(text: Text, found: Found) -> Node:
    """The node of `found`, unless something inside it would be changed in two places."""
    node, name = found.node, called(found.path)
    if isinstance(node, Alias):
        raise refused(
            f"{name} is the alias *{node.name} of what stands at "
            f"{text.position(node.target.start)}; an edit there would change both",
            "alias",
            text.position(node.start),
        )
    if node.uses:
        raise refused(
            f"{name} has the anchor &{node.anchor}, which {_times(node.uses)} elsewhere; "
            "an edit inside it would change those places too",
            "anchor",
            text.position(node.start),
        )
    if not isinstance(node, Scalar) and node.tag not in CONTAINER_TAGS:
        raise refused(
            f"{name} has the tag {node.tag}; what that means is not known",
            "tag",
            text.position(node.start),
        )
    return node


def lookup(text: Text, mapping: Mapping, path: KeyPath, name: str) -> Found | None:
    """What `mapping`, found at `path`, has under `name`; None when it has nothing."""
    here = (*path, Key(name))
    own = [entry for entry in mapping.entries if _named(entry.key) == name]
    merged = _merged(mapping, name)
    if not own:
        if merged is None:
            return None
        return Found(here, merged.value, mapping, merged.key, inherited=True)
    entry = own[0]
    if len(own) == 1 and not (merged or entry.is_complex or isinstance(entry.key, Alias)):
        return Found(here, entry.value, mapping, entry.key)
    at = text.position(entry.key.start)
    if len(own) > 1:
        places = " and ".join(str(text.position(each.key.start)) for each in own)
        raise refused(f"{written(here)} stands twice, at {places}", "duplicate_key", at)
    if isinstance(entry.key, Alias):
        raise refused(f"the key of {written(here)} is an alias", "alias", at)
    if entry.is_complex:
        raise refused(
            f"{written(here)} is written with ?; write it as a plain key", "complex_key", at
        )
    if merged is not None and _merge_follows(mapping, entry):
        raise refused(
            f"{written(here)} stands before a merge (<<) that brings the same key, "
            "and readers differ in which one wins; move the merge up",
            "merge",
            at,
        )
    return Found(here, entry.value, mapping, entry.key)


def called(path: KeyPath) -> str:
    """What messages call the place; the root has no name of its own."""
    return written(path) or "the document"


def names(mapping: Mapping) -> Iterator[str]:
    """The keys of `mapping` that are texts, as they stand."""
    return (name for entry in mapping.entries if (name := _named(entry.key)) is not None)


def resolved(node: Node) -> Node:
    """`node`, or what it is an alias of."""
    return node.target if isinstance(node, Alias) else node


def _named(key: Node) -> str | None:
    key = resolved(key)
    return key.value if isinstance(key, Scalar) else None


def _is_merge(entry: Entry) -> bool:
    return isinstance(entry.key, Scalar) and entry.key.value == MERGE and not entry.key.style


def _merged(mapping: Mapping, name: str) -> Entry | None:
    """The entry a merge brings in under `name`: of the first mapping that has it."""
    waiting, seen = [mapping], {id(mapping)}
    while waiting:
        for entry in filter(_is_merge, waiting.pop().entries):
            value = resolved(entry.value)
            sources = value.items if isinstance(value, Sequence) else [value]
            for source in map(resolved, sources):
                if not isinstance(source, Mapping) or id(source) in seen:
                    continue
                seen.add(id(source))
                for candidate in source.entries:
                    if _named(candidate.key) == name:
                        return candidate
                waiting.append(source)
    return None


def _merge_follows(mapping: Mapping, entry: Entry) -> bool:
    behind = mapping.entries[mapping.entries.index(entry) + 1 :]
    return any(_is_merge(each) for each in behind)


def _item(text: Text, sequence: Sequence, path: KeyPath, step: Step) -> Node:
    index = step.index if isinstance(step, Key | Item) else None
    name, count = called(path), len(sequence.items)
    if index is not None and index < count:
        return sequence.items[index]
    matching = [node for node in sequence.items if _has(text, node, path, step)]
    if len(matching) == 1:
        return matching[0]
    at = text.position(sequence.start)
    if index is not None:
        raise refused(
            f"{name} has no item {index}: it has {count}", "no_match", at, prefix=written(path)
        )
    if not isinstance(step, Named):
        raise refused(
            f'{name} is a list of {count}, which has no key "{step}"; '
            f"name an item by number, {name}[0], or by a key of its own, {name}[name=…]",
            "no_match",
            at,
            prefix=written(path),
        )
    if not matching:
        # Names are told; what stands under another key may be a secret.
        named = step.key == "name"
        shown = sorted(set(_values(text, sequence, path, "name")))[:KEYS_SHOWN] if named else []
        raise refused(
            f"{name} has no item whose {step.key} is {step.value}"
            + (f"; there are {', '.join(shown)}" if shown else ""),
            "no_match",
            at,
            prefix=written(path),
            keys=shown,
        )
    places = " and ".join(str(text.position(node.start)) for node in matching)
    raise refused(f"{name}{step} stands {len(matching)} times, at {places}", "duplicate_key", at)


def _has(text: Text, node: Node, path: KeyPath, step: Step) -> bool:
    return isinstance(step, Named) and _value(text, node, path, step.key) == step.value


def _values(text: Text, sequence: Sequence, path: KeyPath, key: str) -> Iterator[str]:
    for node in sequence.items:
        if (value := _value(text, node, path, key)) is not None:
            yield value


def _value(text: Text, node: Node, path: KeyPath, key: str) -> str | None:
    """The text an item has under `key`."""
    item = resolved(node)
    found = lookup(text, item, path, key) if isinstance(item, Mapping) else None
    value = resolved(found.node) if found else None
    return value.value if isinstance(value, Scalar) else None


def _wrong_kind(text: Text, found: Found, passed: Node, step: Step) -> Refused:
    name = called(found.path)
    kind = "a mapping, not a list" if isinstance(passed, Mapping) else "a single value"
    wanted = f'no key "{step}"' if isinstance(step, Key) else f"no item {step}"
    return refused(
        f"{name} is {kind}: {wanted} inside it",
        "no_match",
        text.position(passed.start),
        prefix=written(found.path),
    )


def _no_match(text: Text, found: Found, name: str, there: list[str]) -> Refused:
    prefix = written(found.path)
    shown = [str(Key(key)) for key in there[:KEYS_SHOWN]]
    more = f" and {len(there) - KEYS_SHOWN} more" if len(there) > KEYS_SHOWN else ""
    near = difflib.get_close_matches(name, there, n=1)
    return refused(
        f"{written((*found.path, Key(name)))} is not there; {prefix or 'the document'} has "
        f"{', '.join(shown) or 'no key'}{more}"
        + (f". Was {written((*found.path, Key(near[0])))} meant?" if near else ""),
        "no_match",
        text.position(found.node.start),
        prefix=prefix,
        keys=shown,
    )


def _times(uses: int) -> str:
    return "an alias repeats" if uses == 1 else f"{uses} aliases repeat"
