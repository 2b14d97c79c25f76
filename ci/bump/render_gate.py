"""What an edit of a manifest may do to the rendering: change images, to the wanted ones: PURE.

    before ─ helm ─▶ objects ─┐
                              ├─▶ refusals ─▶ [] or why not
    after ── helm ─▶ objects ─┘

Only the rendering says what the cluster will get: a bare tag 1e10 comes out as 1e+10, a key that no
template reads comes out nowhere, a tag in a label changes an immutable selector.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.model import ImageRef

Object = Mapping[str, Any]
Key = tuple[str, str, str, str, int]  # apiVersion, kind, namespace, name, which one of that name
Path = tuple[str | int, ...]

CONTAINERS = {"containers", "initContainers", "ephemeralContainers"}
HOOKS = {"helm.sh/hook", "argocd.argoproj.io/hook"}
SHOWN_MAX = 20
ABSENT = object()
# Source: Kubernetes, "Labels and Selectors: Syntax"; "Object Names and IDs: DNS Subdomain Names".
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
MAY_CHANGE = "may_change in [manifests.render] of ci/ci.toml allows it"
PIN = 'pin = "tag" of the target, or of [manifests], writes no digest'


@dataclass(frozen=True)
class Expected:
    """What an edit is to bring. images: by the name or repository of what each replaces."""

    images: Mapping[str, ImageRef]
    may_change: Sequence[str] = ()  # as `config.Render` has it
    read_elsewhere: Collection[str] = ()  # names of images that no rendering here needs to show
    unstable: Collection[tuple[str, str]] = ()  # object and path of what each rendering makes anew

    def allows(self, name: str) -> bool:
        """Whether ci.toml lets this path change, or this object come and go."""
        patterns = (re.escape(text).replace(r"\*", ".*") for text in self.may_change)
        return any(re.fullmatch(pattern, name) for pattern in patterns)

    def replacing(self, was: object, path: Path) -> ImageRef | None:
        """The image that replaces `was` at `path`: by repository, by name, or as the only one.

        Where there is only one image to bring, a container may have held a placeholder.
        """
        repository = _repository(str(was))
        for wanted in (repository, repository.rpartition("/")[2]):
            for name, image in self.images.items():
                if wanted in {name, image.repository, image.name}:
                    return image
        is_container = len(path) >= 3 and path[-3] in CONTAINERS
        images = list(self.images.values())
        return images[0] if is_container and len(images) == 1 else None

    def is_part_read_elsewhere(self, now: object) -> bool:
        """Whether `now` is a part of an image that something else reads: an Application's value."""
        return any(
            now in (image.repository, image.tag, image.digest, image.pin, str(image))
            for image in self.images.values()
            if image.name in self.read_elsewhere
        )


def refusals(before: Sequence[Object], after: Sequence[Object], expected: Expected) -> list[str]:
    """A line for each thing that the edit must not have done, and which setting allows it."""
    old, new, tags = _by_key(before), _by_key(after), _tags(before, expected)
    pairs = _pairs(old, new, tags)
    others = [(_title(key), "is gone") for key in old if key not in pairs]
    others += [(_title(key), "is new") for key in new if key not in pairs.values()]
    lines = [f"{title} {what}" for title, what in others if not expected.allows(title)]
    for key, new_key in pairs.items():
        item, title = new[new_key], _title(new_key)
        for path, was, now in _differences(old[key], item):
            where = _dotted(path, item)
            if invalid := _invalid(path, now):
                lines.append(f"{title}: {where} would be {_shown(now)}; {invalid}; {PIN}")
                continue
            why = _why_not(path, was, now, expected, tags)
            if key == new_key:  # a renamed object is another one, which is made anew
                why = why or _cannot_change(item)
            if (title, where) in expected.unstable:
                why = "is another at each rendering, with or without this edit (a random value, a"
                why += f" date, a generated certificate); {MAY_CHANGE}"
            elif why and item.get("kind") == "Secret":
                why = "changes; only images may change (values of a Secret are not shown);"
                why += f" {MAY_CHANGE}"
            if why and not expected.allows(where):
                lines.append(f"{title}: {where} {why}")
    rendered = {text for item in after for _, text in image_fields(item)}
    lines += [
        f"{image} appears nowhere in the rendering: no template reads the value that was edited"
        " (where the image is read elsewhere: read_elsewhere = true in its target)"
        for image in dict.fromkeys(expected.images.values())
        if not any(_is(text, image) for text in rendered)
        and image.name not in expected.read_elsewhere
        and not any(str(image) in line for line in lines)
    ]
    more = [f"and {len(lines) - SHOWN_MAX} more"] if len(lines) > SHOWN_MAX else []
    return lines[:SHOWN_MAX] + more


def unstable(one: Sequence[Object], other: Sequence[Object]) -> set[tuple[str, str]]:
    """(object, path) of each leaf that two renderings of the same files do not share."""
    first, second = _by_key(one), _by_key(other)
    return {
        (_title(key), _dotted(path, second[key]))
        for key in first.keys() & second.keys()
        for path, _, _ in _differences(first[key], second[key])
    }


def invalid(objects: Sequence[Object]) -> list[str]:
    """One line for each label and name that Kubernetes would refuse."""
    return [
        f"{_title(key)}: {_dotted(path, item)} is {_shown(value)}; {why}"
        for key, item in _by_key(objects).items()
        for path, value in _leaves(item)
        if (why := _invalid(path, value))
    ]


def image_fields(item: object) -> Iterator[tuple[Path, Any]]:
    """Every field called `image`: of containers of any kind of Pod, and of custom resources."""
    return ((path, value) for path, value in _leaves(item) if path and path[-1] == "image")


def _tags(before: Sequence[Object], expected: Expected) -> dict[str, str]:
    """Old tag → new tag of every image that is pinned by its tag alone, as rendered before."""
    tags: dict[str, str] = {}
    for path, text in (field for item in before for field in image_fields(item)):
        wanted = expected.replacing(text, path)
        old = str(text).partition("@")[0].removeprefix(_repository(str(text))).lstrip(":")
        if wanted and wanted.digest is None and old and old != wanted.tag:
            tags[old] = wanted.tag
    return tags


def _pairs(
    old: Mapping[Key, Object], new: Mapping[Key, Object], tags: Mapping[str, str]
) -> dict[Key, Key]:
    """Each object and what it became: the same key, or one that differs by the tag in its name."""
    pairs = {key: key for key in old if key in new}
    for key in old.keys() - pairs.keys():
        for tag, wanted in tags.items():
            renamed = (*key[:3], key[3].replace(_in_name(tag), _in_name(wanted)), key[4])
            if renamed != key and renamed in new:
                pairs[key] = renamed
    return pairs


def _in_name(tag: str) -> str:
    """The tag as charts write it into a name: small letters, and nothing that no name may hold."""
    return re.sub(r"[^a-z0-9.-]", "-", tag.lower())


def _is(text: object, image: ImageRef) -> bool:
    """Whether a rendered reference is that image: a digest says it all, whatever the tag."""
    return text == str(image) or bool(image.digest and text == f"{image.repository}@{image.digest}")


def _invalid(path: Path, value: object) -> str | None:
    """Why Kubernetes would refuse this label or name; None when it would not."""
    if not isinstance(value, str):
        return None
    if path[-2:-1] in {("labels",), ("matchLabels",)} and not LABEL.fullmatch(value):
        return "a label holds at most 63 letters, digits, '-', '_' and '.'"
    if path[-2:] == ("metadata", "name") and not NAME.fullmatch(value):
        return "a name holds at most 253 small letters, digits, '-' and '.'"
    return None


def _why_not(
    path: Path, was: Any, now: Any, expected: Expected, tags: Mapping[str, str]
) -> str | None:
    """Why this difference is not one of the wanted; None when it is."""
    change = f"changes from {_shown(was)} to {_shown(now)}"
    if path[-1] == "image" and ABSENT not in (was, now):
        wanted = expected.replacing(was, path)
        if wanted is None:
            return f"{change}; that is not an image this edit is about; {MAY_CHANGE}"
        return None if _is(now, wanted) else f"{change}; wanted is {wanted}"
    if not _holds_new_tag(was, now, tags) and not expected.is_part_read_elsewhere(now):
        return f"{change}; only images may change; {MAY_CHANGE}"
    if {"selector", "matchLabels"} & set(path):
        return f"{change}; the selector of what runs already is immutable"
    return None


def _holds_new_tag(was: Any, now: Any, tags: Mapping[str, str]) -> bool:
    """Whether the old tag, and nothing else, became the new one within a text."""
    return isinstance(was, str) and any(
        now in (was.replace(old, new), was.replace(_in_name(old), _in_name(new)))
        for old, new in tags.items()
    )


def _cannot_change(item: Object) -> str | None:
    """Why a cluster would refuse another image in this object; None when it would not.

    A hook is made anew each time, as is what Argo CD replaces; a Job with a time to live is gone.
    """
    if item.get("kind") != "Job" or "ttlSecondsAfterFinished" in (item.get("spec") or {}):
        return None
    notes = (item.get("metadata") or {}).get("annotations") or {}
    options = str(notes.get("argocd.argoproj.io/sync-options", ""))
    if HOOKS & notes.keys() or "Replace=true" in options:
        return None
    return "cannot change: a Job's template is immutable, and this one is no hook that is made anew"


def _repository(reference: str) -> str:
    """`reference` without tag and digest; a port of the registry is no tag."""
    rest = reference.partition("@")[0]
    head, colon, tail = rest.rpartition(":")
    return head if colon and "/" not in tail else rest


def _by_key(objects: Sequence[Object]) -> dict[Key, Object]:
    """Each object by what the cluster knows it as; the last part tells equal ones apart."""
    seen: Counter[tuple[str, ...]] = Counter()
    keyed: dict[Key, Object] = {}
    for item in objects:
        metadata = item.get("metadata") or {}
        name = str(metadata.get("name") or metadata.get("generateName"))
        namespace = str(metadata.get("namespace") or "")
        key = (str(item.get("apiVersion")), str(item.get("kind")), namespace, name)
        keyed[(*key, seen[key])] = item
        seen[key] += 1
    return keyed


def _title(key: Key) -> str:
    return f"{key[1]} {key[3]}" + (f" (number {key[4] + 1} of that name)" if key[4] else "")


def _children(item: Any) -> Mapping[Any, Any] | None:
    """What a mapping or a list holds, by key or by number; None of anything else."""
    if isinstance(item, Mapping):
        return item
    return dict(enumerate(item)) if isinstance(item, list) else None


def _leaves(item: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of every value that holds no others."""
    children = _children(item)
    if children is None:
        yield path, item
    else:
        for key, value in children.items():
            yield from _leaves(value, (*path, key))


def _differences(was: Any, now: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """(path, was, now) of every leaf that differs, in type as in value; ABSENT where it is not."""
    old, new = _children(was), _children(now)
    if old is not None and new is not None and isinstance(was, list) == isinstance(now, list):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
    elif repr(was) != repr(now):  # 2 is not '2', and NaN is itself
        yield path, was, now


def _dotted(path: Path, item: Any) -> str:
    """The path as a person writes it; an item of a list by its name, where it has one."""
    text = ""
    for part in path:
        item = (_children(item) or {}).get(part)
        if isinstance(part, int):
            name = item.get("name") if isinstance(item, Mapping) else None
            text += f"[{name if isinstance(name, str) else part}]"
        else:
            text += f".{part}" if text else str(part)
    return text


def _shown(value: object) -> str:
    text = "nothing" if value is ABSENT else str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:197]}…"
