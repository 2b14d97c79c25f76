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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ci.model import ImageRef

Object = Mapping[str, Any]
Key = tuple[str, str, str, str, int]
Path = tuple[str | int, ...]

CONTAINERS = {"containers", "initContainers", "ephemeralContainers"}
HOOKS = {"helm.sh/hook", "argocd.argoproj.io/hook"}
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}
LABELS = {"labels", "matchLabels"}
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
SHOWN_MAX = 20
ABSENT = object()


def refusals(
    before: Sequence[Object],
    after: Sequence[Object],
    images: Mapping[str, ImageRef],
    may_change: Sequence[str] = (),
    *,
    again: Sequence[Object] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> list[str]:
    """One line for each thing that the edit must not have done; empty when it may go ahead.

    images: what the edit was to bring, by the name or the full repository of what it replaces.
    may_change: paths within an object that may change besides, or `Kind name` of an object that may
    come or go, `*` for anything. again: `after`, rendered a second time. elsewhere: old text → new
    of the values that the edit changed, where the images need not show (`read_elsewhere`).
    """
    old, new = _by_key(before), _by_key(after)
    allowed = [re.compile(re.escape(text).replace(r"\*", ".*")) for text in may_change]
    renamed = _renamed(old, new, images)
    gone = [(key, "is gone") for key in old if key not in new and key not in renamed]
    come = [(key, "is new") for key in new if key not in old and key not in renamed.values()]
    lines = [
        f"{_title(key)} {what}"
        for key, what in [*gone, *come]
        if not _matches(allowed, _title(key))
    ]
    varies = _varies(new, again)
    for key, item in old.items():
        new_key = renamed.get(key, key)
        for path, was, now in _differences(item, new.get(new_key, item), ()):
            where = _dotted(path, new[new_key])
            if key in renamed and path == ("metadata", "name"):
                why = (
                    None if NAME.fullmatch(new_key[3]) else f"{_shown(now)} is no name of an object"
                )
            elif (new_key, path) in varies:
                why = "comes out differently each time it is rendered"
            else:
                why = _why_not(path, was, now, images, elsewhere or {})
                why = why or (None if key in renamed else _cannot_change(new[new_key]))
            if why is None or _matches(allowed, where):
                why = _invalid(path, now, new[new_key])
            if why and new[new_key].get("kind") == "Secret":
                each_time = "differently each time it is rendered" if "each time" in why else ""
                why = f"changes {each_time}".rstrip()
                why += "; only images may change (values of a Secret are not shown)"
            if why:
                lines.append(f"{_title(new_key)}: {where} {why}")
    rendered = {text for item in after for _, text in image_fields(item)}
    lines += [
        f"{image} appears nowhere in the rendering: no template reads the value that was edited"
        for image in dict.fromkeys(images.values())
        if elsewhere is None
        and not rendered.intersection(written(image))
        and not any(form in line for form in written(image) for line in lines)
    ]
    if len(lines) > SHOWN_MAX:
        lines = [*lines[:SHOWN_MAX], f"and {len(lines) - SHOWN_MAX} more"]
    return lines


def written(image: ImageRef) -> list[str]:
    """How a chart may write `image`: the digest alone names it too, and wins over any tag."""
    return [str(image), *([f"{image.repository}@{image.digest}"] if image.digest else ())]


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
    path: Path, was: Any, now: Any, images: Mapping[str, ImageRef], elsewhere: Mapping[str, str]
) -> str | None:
    """Why this difference is not one of the wanted; None when it is."""
    told = f"changes from {_shown(was)} to {_shown(now)}"
    follows = str(was)
    for old, new in elsewhere.items():
        follows = follows.replace(old, new)
    if elsewhere and follows == str(now) and ABSENT not in (was, now):
        return None
    if path[-1] != "image" or ABSENT in (was, now):
        return f"{told}; only images may change"
    is_container = len(path) >= 3 and path[-3] in CONTAINERS
    wanted = _wanted(was, images, is_container=is_container)
    if wanted is None:
        return f"{told}; that is not an image this edit is about"
    return None if now in written(wanted) else f"{told}; wanted is {wanted}"


def _invalid(path: Path, now: Any, item: Object) -> str | None:
    """Why a cluster would refuse `now` at `path`, whoever allows the change; None: it would not."""
    if item.get("kind") in WORKLOADS and path[:2] == ("spec", "selector"):
        return "cannot change: the selector of a workload is immutable"
    if len(path) > 1 and path[-2] in LABELS and now is not ABSENT and not _is_label(now):
        text = (
            f"{_shown(now)} is no value of a label (63 letters, digits, `-`, `_` and `.` at most)"
        )
        return f'{text}; pin = "tag" writes no digest'
    return None


def _is_label(value: Any) -> bool:
    return isinstance(value, str) and LABEL.fullmatch(value) is not None


def _renamed(
    old: Mapping[Key, Object], new: Mapping[Key, Object], images: Mapping[str, ImageRef]
) -> dict[Key, Key]:
    """Old key → new of objects that have the tag in their name, as Jobs of a migration do."""
    tags = {
        (_tag(str(was)), image.tag)
        for item in old.values()
        for _, was in image_fields(item)
        if (image := _wanted(was, images, is_container=len(images) == 1))
    }
    pairs = {}
    for key in old.keys() - new.keys():
        for before, after in tags:
            for form in (str, str.lower, lambda text: re.sub("[^a-z0-9-]", "-", text.lower())):
                name = key[3].replace(form(before), form(after)) if before else key[3]
                if (wanted := (*key[:3], name, key[4])) in new and wanted not in old:
                    pairs[key] = wanted
    return pairs


def _tag(reference: str) -> str:
    return reference.partition("@")[0].removeprefix(_repository(reference)).removeprefix(":")


def _varies(after: Mapping[Key, Object], again: Sequence[Object] | None) -> set[tuple[Key, Path]]:
    """Object and path of each value that is another one in a second rendering of the same."""
    second = after if again is None else _by_key(again)
    return {
        (key, path)
        for key, item in after.items()
        for path, _, _ in _differences(item, second.get(key, item), ())
    }


def _matches(allowed: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(pattern.fullmatch(text) for pattern in allowed)


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


def _shown(value: object) -> str:
    text = "nothing" if value is ABSENT else str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:197]}…"
