"""What an edit of a manifest may do to the rendering: change images, to the wanted ones: PURE.

    before ─ helm ─▶ objects ─┐
                              ├─▶ refusals ─▶ [] or why not
    after ── helm ─▶ objects ─┘

A values file says what somebody meant, only the rendering says what the cluster will get. A bare
tag 1e10 comes out as 1e+10, a key that no template reads comes out nowhere, a tag in a label
changes an immutable selector. None of these shows in the diff of the file.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ci.model import ImageRef

Object = Mapping[str, Any]
Key = tuple[str, str, str, str, int]
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
    """What an edit is to bring.

    images: by the name or the full repository of what each replaces. may_change: paths within an
    object that may change besides, or `Kind name` of one that may come or go, `*` for anything.
    read_elsewhere: names of images that no rendering here needs to show. unstable: (object, path)
    of what each rendering makes anew.
    """

    images: Mapping[str, ImageRef]
    may_change: Sequence[str] = ()
    read_elsewhere: Collection[str] = ()
    unstable: Collection[tuple[str, str]] = field(default=())


def refusals(before: Sequence[Object], after: Sequence[Object], expected: Expected) -> list[str]:
    """One line for each thing that the edit must not have done; empty when it may go ahead.

    Each line names the setting that would allow it, where there is one.
    """
    tags = _tags(before, expected.images)
    old, new = _by_key(before), _by_key(after)
    pairs = _pairs(old, new, tags)
    allowed = [_pattern(text) for text in expected.may_change]
    others = [(_title(key), "is gone") for key in old if key not in pairs]
    others += [(_title(key), "is new") for key in new if key not in pairs.values()]
    lines = [
        f"{title} {what}"
        for title, what in others
        if not any(pattern.fullmatch(title) for pattern in allowed)
    ]
    for key, now_key in pairs.items():
        lines += _of_object(
            old[key], new[now_key], now_key, expected=expected, tags=tags, allowed=allowed
        )
    rendered = {text for item in after for _, text in image_fields(item)}
    lines += [
        f"{image} appears nowhere in the rendering: no template reads the value that was edited"
        " (where the image is read elsewhere: read_elsewhere = true in its target)"
        for image in dict.fromkeys(expected.images.values())
        if not any(_is(text, image) for text in rendered)
        and image.name not in expected.read_elsewhere
        and not any(str(image) in line for line in lines)
    ]
    if len(lines) > SHOWN_MAX:
        lines = [*lines[:SHOWN_MAX], f"and {len(lines) - SHOWN_MAX} more"]
    return lines


def unstable(one: Sequence[Object], other: Sequence[Object]) -> set[tuple[str, str]]:
    """(object, path) of each leaf that two renderings of the same files do not share."""
    first, second = _by_key(one), _by_key(other)
    return {
        (_title(key), _dotted(path, second[key]))
        for key in first.keys() & second.keys()
        for path, _, _ in _differences(first[key], second[key], ())
    }


def _of_object(
    was: Object,
    now: Object,
    key: Key,
    *,
    expected: Expected,
    tags: Mapping[str, str],
    allowed: Sequence[re.Pattern[str]],
) -> Iterator[str]:
    """A line for each difference of one object that is not wanted."""
    is_renamed = _by_key([was]).keys() != _by_key([now]).keys()
    for path, old, new in _differences(was, now, ()):
        where = _dotted(path, now)
        if why := _invalid(path, new):
            yield f"{_title(key)}: {where} would be {_shown(new)}; {why}; {PIN}"
            continue
        if any(pattern.fullmatch(where) for pattern in allowed):
            continue
        if (_title(key), where) in expected.unstable:
            yield (
                f"{_title(key)}: {where} is another at each rendering, with or without this edit"
                f" (a random value, a date, a generated certificate); {MAY_CHANGE}"
            )
            continue
        why = _why_not(path, old, new, expected, tags)
        if why is None and not is_renamed:
            why = _cannot_change(now)
        if why and now.get("kind") == "Secret":
            hidden = "changes; only images may change (values of a Secret are not shown)"
            why = f"{hidden}; {MAY_CHANGE}"
        if why:
            yield f"{_title(key)}: {where} {why}"


def _tags(before: Sequence[Object], images: Mapping[str, ImageRef]) -> dict[str, str]:
    """Old tag → new tag of every image that is pinned by its tag alone, as rendered before."""
    tags: dict[str, str] = {}
    for item in before:
        for path, text in image_fields(item):
            is_container = len(path) >= 3 and path[-3] in CONTAINERS
            wanted = _wanted(text, images, is_container=is_container)
            old = str(text).partition("@")[0].removeprefix(_repository(str(text))).lstrip(":")
            if wanted is not None and wanted.digest is None and old and old != wanted.tag:
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
    by_digest = f"{image.repository}@{image.digest}" if image.digest else None
    return text in {str(image), by_digest}


def _invalid(path: Path, value: object) -> str | None:
    """Why Kubernetes would refuse this label or name; None when it would not."""
    parent = path[-2] if len(path) > 1 else ""
    if not isinstance(value, str):
        return None
    if parent in {"labels", "matchLabels"} and not LABEL.fullmatch(value):
        return "a label holds at most 63 letters, digits, '-', '_' and '.'"
    if path[-2:] == ("metadata", "name") and not NAME.fullmatch(value):
        return "a name holds at most 253 small letters, digits, '-' and '.'"
    return None


def image_fields(item: object, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field called `image`: of containers of any kind of Pod, and of custom resources."""
    if isinstance(item, Mapping):
        for key, value in item.items():
            if key == "image" and not isinstance(value, Mapping | list):
                yield (*path, key), value
            else:
                yield from image_fields(value, (*path, key))
    elif isinstance(item, list):
        for number, value in enumerate(item):
            yield from image_fields(value, (*path, number))


def _why_not(
    path: Path, was: Any, now: Any, expected: Expected, tags: Mapping[str, str]
) -> str | None:
    """Why this difference is not one of the wanted; None when it is."""
    change = f"changes from {_shown(was)} to {_shown(now)}"
    if path[-1] != "image" or ABSENT in (was, now):
        if _holds_new_tag(was, now, tags) or _is_part(now, expected):
            if {"selector", "matchLabels"} & set(path):
                return f"{change}; the selector of what runs already is immutable"
            return None
        return f"{change}; only images may change; {MAY_CHANGE}"
    is_container = len(path) >= 3 and path[-3] in CONTAINERS
    wanted = _wanted(was, expected.images, is_container=is_container)
    if wanted is None:
        return f"{change}; that is not an image this edit is about; {MAY_CHANGE}"
    return None if _is(now, wanted) else f"{change}; wanted is {wanted}"


def _holds_new_tag(was: Any, now: Any, tags: Mapping[str, str]) -> bool:
    """Whether the old tag, and nothing else, became the new one within a text."""
    if not (isinstance(was, str) and isinstance(now, str)):
        return False
    return any(
        now in {was.replace(old, new), was.replace(_in_name(old), _in_name(new))}
        for old, new in tags.items()
    )


def _is_part(now: Any, expected: Expected) -> bool:
    """Whether `now` is a part of an image that something else reads (an Application's value)."""
    return any(
        now in {image.repository, image.tag, image.digest, image.pin, str(image)}
        for image in expected.images.values()
        if image.name in expected.read_elsewhere
    )


def _cannot_change(item: Object) -> str | None:
    """Why a cluster would refuse another image in this object; None when it would not.

    The template of a Job is immutable. A hook is made anew each time, and so is what Argo CD is
    told to replace; a Job with a time to live is gone by then.
    """
    if item.get("kind") != "Job" or "ttlSecondsAfterFinished" in (item.get("spec") or {}):
        return None
    notes = (item.get("metadata") or {}).get("annotations") or {}
    options = str(notes.get("argocd.argoproj.io/sync-options", ""))
    if HOOKS & notes.keys() or "Replace=true" in options:
        return None
    return "cannot change: a Job's template is immutable, and this one is no hook that is made anew"


def _wanted(was: Any, images: Mapping[str, ImageRef], *, is_container: bool) -> ImageRef | None:
    """The image that replaces `was`: by full repository, then by the last part of its name.

    A container may have held anything where there is only one image to bring: a placeholder, the
    name before a move. With several, nobody could tell which belongs there.
    """
    repository = _repository(str(was))
    for name, image in images.items():
        if repository in {name, image.repository}:
            return image
    last = repository.rsplit("/", 1)[-1]
    for name, image in images.items():
        if last in {name, image.name}:
            return image
    return next(iter(images.values())) if is_container and len(images) == 1 else None


def _repository(reference: str) -> str:
    """`reference` without tag and digest; a port of the registry is no tag."""
    rest = reference.partition("@")[0]
    head, colon, tail = rest.rpartition(":")
    return head if colon and "/" not in tail else rest


def _by_key(objects: Sequence[Object]) -> dict[Key, Object]:
    """Each object by what the cluster knows it as; the last part tells equal ones apart."""
    seen: Counter[tuple[str, str, str, str]] = Counter()
    keyed: dict[Key, Object] = {}
    for item in objects:
        metadata = item.get("metadata") or {}
        name = str(metadata.get("name") or metadata.get("generateName"))
        key = (
            str(item.get("apiVersion")),
            str(item.get("kind")),
            str(metadata.get("namespace") or ""),
            name,
        )
        keyed[(*key, seen[key])] = item
        seen[key] += 1
    return keyed


def _title(key: Key) -> str:
    return f"{key[1]} {key[3]}" + (f" (number {key[4] + 1} of that name)" if key[4] else "")


def _differences(was: Any, now: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """(path, was, now) of every leaf that differs, in type as in value; ABSENT where it is not."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in [*was, *(key for key in now if key not in was)]:
            yield from _differences(was.get(key, ABSENT), now.get(key, ABSENT), (*path, key))
    elif isinstance(was, list) and isinstance(now, list):
        for number in range(max(len(was), len(now))):
            yield from _differences(
                was[number] if number < len(was) else ABSENT,
                now[number] if number < len(now) else ABSENT,
                (*path, number),
            )
    elif repr(was) != repr(now):  # 2 is not '2', and NaN is itself
        yield path, was, now


def _dotted(path: Path, item: object) -> str:
    """The path as a person writes it; an item of a list by its name, where it has one."""
    text, here = "", item
    for part in path:
        try:
            here = here[part]  # type: ignore[index]  # a path into plain values
        except (KeyError, IndexError, TypeError):
            here = None
        if isinstance(part, int):
            name = here.get("name") if isinstance(here, Mapping) else None
            text += f"[{name if isinstance(name, str) else part}]"
        else:
            text += f".{part}" if text else str(part)
    return text


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text).replace(r"\*", ".*"))


def _shown(value: object) -> str:
    text = "nothing" if value is ABSENT else str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:197]}…"
