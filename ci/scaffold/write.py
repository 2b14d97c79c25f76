"""Puts the files of a manifest repository into a folder, and never over one that says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ci.errors import Refused

TEMPLATE = Path(__file__).parent / "template"


def template() -> dict[str, str]:
    """The files of `template/` by path."""
    return {
        str(path.relative_to(TEMPLATE)): path.read_text(encoding="utf-8")
        for path in sorted(TEMPLATE.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True)
class Plan:
    """What writing would do: paths that are new, and those that are there, word for word."""

    new: tuple[str, ...]
    same: tuple[str, ...]


def plan(folder: Path, files: Mapping[str, str]) -> Plan:
    """What `write` would do; `Refused` names the files it would have to overwrite."""
    new, same, other = [], [], []
    for path, text in files.items():
        there = folder / path
        if not there.exists() and not there.is_symlink():
            new.append(path)
        elif there.is_file() and there.read_bytes() == text.encode():
            same.append(path)
        else:
            other.append(path)
    if other:
        raise Refused(
            f"{folder} has files that say something else, and they are yours:\n  "
            + "\n  ".join(other),
            status="not_empty",
            files=other,
        )
    return Plan(tuple(new), tuple(same))


def write(folder: Path, files: Mapping[str, str], planned: Plan) -> None:
    """The new files stand in `folder`. Cut short, it is finished by the next call."""
    for path in planned.new:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(files[path])
