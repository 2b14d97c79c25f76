"""`ci set-image`."""

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import click

from ci import manifests
from ci.context import Context
from ci.errors import OutsideFault, UsageError
from ci.model import ImageRef
from ci.outcome import Outcome


@click.command()
@click.option("--file", "name", required=True, help="the YAML file; a link is followed")
@click.option("--key", required=True, help="where the image is, e.g. das.image")
@click.option("--image", required=True, help="the repository, with its registry's host")
@click.option("--tag", required=True, help="e.g. 41-1a2b3c4d")
@click.option("--digest", help="sha256:…, which pins the image whatever the tag becomes")
@click.option(
    "--pin",
    type=click.Choice(["digest", "tag"]),
    default="digest",
    help="tag: no digest is written, and one that stands there is emptied",
)
@click.option("--document", type=int, help="which of several documents, counted from 0")
def set_image(
    context: Context,
    *,
    name: str,
    key: str,
    image: str,
    tag: str,
    digest: str | None,
    pin: manifests.Pin,
    document: int | None,
) -> Outcome:
    r"""One image in one file, every other byte unchanged.

    The same edit `bump` makes, on any file:

    \b
    python -m ci set-image --file values.yaml --key image --image registry.example/das --tag 41-1a
    python -m ci set-image --file deploy.yaml --key 'spec.containers[name=web].image' \\
        --image registry.example/das --tag 41-1a2b --digest sha256:… --document 1

    --key is a dotted path; list items by number (containers[0], containers.0) or by a key of their
    own (containers[name=web]); a key with a dot in it is quoted ("a.b".image). It may name the
    mapping that holds repository and tag, an entry of kustomize's images, or the one text with the
    image in it.
    """
    wanted = ImageRef(image, tag, digest)
    file = _regular_file(name)
    old = _read(file, name)
    edit = manifests.set_image(old, key, wanted, document=document, pin=pin, file=name)
    diff = manifests.unified(old, edit.content, name.lstrip("/"))
    facts: dict[str, Any] = {
        "file": name,
        "key": key,
        "document": document,
        "style": edit.style,
        "image": str(wanted),
        "changes": [change._asdict() for change in edit.changes],
        "diff": diff,
    }
    if not edit.changes:
        return Outcome("nothing", f"{name}: {key} is {wanted} already; nothing to do", facts)
    if not context.dry_run:
        _replace(file, name, old, edit.content)
    done = "would be set" if context.dry_run else "set"
    return Outcome("changed", f"{diff}\n{name}: {done} to {wanted}", facts)


def _regular_file(name: str) -> Path:
    """The file itself, behind any links."""
    try:
        file = Path(name).resolve(strict=True)
        mode = file.stat().st_mode
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as exc:  # RuntimeError: links in a circle, until 3.12
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"{name!r} cannot be read: {why}", file=name) from exc
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageError(f"{name!r} is {kind}", file=name)
    return file


def _read(file: Path, name: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise UsageError(f"{name!r} cannot be read: {exc.strerror}", file=name) from exc


def _replace(file: Path, name: str, old: bytes, new: bytes) -> None:
    """`new` in place of `old`, whole or not at all; mode and links to it stay."""
    temporary = None
    try:
        if not os.access(file, os.W_OK):
            raise OutsideFault(f"{name!r} cannot be written: it is read-only", file=name)
        with tempfile.NamedTemporaryFile(
            dir=file.parent, prefix=f".{file.name[:80]}.", delete=False
        ) as stream:
            temporary = Path(stream.name)
            stream.write(new)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copystat(file, temporary)
        _keep_owner(file, temporary)
        os.utime(temporary)
        if file.read_bytes() != old:
            raise OutsideFault(f"{name!r} was changed by somebody meanwhile; again", file=name)
        temporary.replace(file)
        temporary = None
    except OSError as exc:
        raise OutsideFault(f"{name!r} cannot be written: {exc.strerror}", file=name) from exc
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _keep_owner(file: Path, temporary: Path) -> None:
    """The same owner and group, where this user may give files away."""
    had, has = file.stat(), temporary.stat()
    if (had.st_uid, had.st_gid) != (has.st_uid, has.st_gid):
        os.chown(temporary, had.st_uid, had.st_gid)
