"""Makes dist/: the page as nginx serves it, every asset under a name made of its content.

    index.html ─┬─ styles/index.css (its @imports joined) ──► assets/styles/index.<hash>.css
                ├─ start_watch.js, theme_boot.js (classic) ─► assets/<name>.<hash>.js
                └─ main.js ─► modules, leaves first       ──► assets/…/<name>.<hash>.js, specifiers
                rewritten

A module's hash covers the hashes of what it imports, so a name never means two contents and
everything under
assets/ may be cached for ever. uPlot comes from the wheel `youplot`; it becomes a module by one
`export` line.
Standard library only: `python build.py [--out DIR] [--uplot DIR]`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HERE = Path(__file__).resolve().parent
UPLOT_MODULE = "vendor/uplot.js"
UPLOT_STYLES = "vendor/uplot.css"
SPECIFIER = re.compile(
    r"""(?P<head>^\s*(?:import|export)\b[^"';]*?\bfrom\s*|^\s*import\s*)"""
    r"""(?P<quote>["'])(?P<path>\.{1,2}/[^"']+)(?P=quote)""",
    re.MULTILINE,
)
CSS_IMPORT = re.compile(
    r"""^@import\s+["'](?P<path>[^"']+)["'](?P<layer>\s+layer\([\w.-]+\))?;\s*$""", re.MULTILINE
)
DOC_COMMENT = re.compile(r"^[ \t]*/\*\*(?:[^*]|\*(?!/))*\*/[ \t]*\n", re.MULTILINE)
COMMENT = re.compile(
    DOC_COMMENT.pattern + r"|^[ \t]*// [^\n]*\n|[ \t]+// [^\n\"'`]*$", re.MULTILINE
)
INDENT = re.compile(r"^\s+", re.MULTILINE)
OPEN_END = re.compile(r"^((?:(?!//).)*[(\[{,])\n", re.MULTILINE)
HTML_ASSET = re.compile(r"""(?P<head>\b(?:src|href)=)"(?P<path>(?!https?:|#|/|data:)[^"]+)\"""")
COMPRESSED = frozenset({".html", ".js", ".css", ".svg", ".json", ".webmanifest"})


class BuildError(Exception):
    """The page cannot be built from these sources."""


def find_uplot(named: Path | None) -> Path:
    """The folder that holds uplot.iife.min.js: the one named, this Python's youplot, or that of
    ./.venv.
    """
    if named is not None:
        candidates: Iterable[Path] = [named]
    else:
        spec = importlib.util.find_spec("youplot")
        origins = (
            [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "vendor"]
        )
        candidates = [
            *origins,
            *sorted(HERE.glob(".venv/lib/python*/site-packages/youplot/vendor")),
        ]
    for folder in candidates:
        if (folder / "uplot.iife.min.js").is_file():
            return folder
    raise BuildError(
        "uPlot was not found; install it with "
        f"`{sys.executable} -m pip install --no-deps --require-hashes "
        f"-r {HERE / 'requirements.txt'}` "
        "or name its folder with --uplot"
    )


def read_sources(page: Path, sources: Path, uplot: Path) -> dict[str, bytes]:
    """Path relative to the page's root → content; index.html is among them."""
    files = {
        path.relative_to(sources).as_posix(): path.read_bytes()
        for path in sorted(sources.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    script = (uplot / "uplot.iife.min.js").read_bytes()
    files[UPLOT_MODULE] = script.rstrip() + b"\nexport default uPlot;\n"
    files[UPLOT_STYLES] = (uplot / "uplot.min.css").read_bytes()
    files["index.html"] = page.read_bytes()
    return files


def resolve(importer: str, specifier: str) -> str:
    """The path that a relative specifier in `importer` names, relative to the page's root."""
    parts: list[str] = list(PurePosixPath(importer).parent.parts)
    for part in PurePosixPath(specifier).parts:
        if part == "..":
            if not parts:
                raise BuildError(f"{importer} imports {specifier}, which is outside of the page")
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def hashed_name(path: str, content: bytes) -> str:
    """`views/explore.js` → `assets/views/explore.1f0a9c.js`."""
    pure = PurePosixPath(path)
    digest = hashlib.sha256(content).hexdigest()[:6]
    return str(PurePosixPath("assets") / pure.parent / f"{pure.stem}.{digest}{pure.suffix}")


def relative(importer: str, target: str) -> str:
    """The specifier by which the built file `importer` names the built file `target`."""
    base = PurePosixPath(importer).parent.parts
    goal = PurePosixPath(target).parts
    shared = 0
    while shared < min(len(base), len(goal) - 1) and base[shared] == goal[shared]:
        shared += 1
    steps = [".."] * (len(base) - shared) or ["."]
    return "/".join([*steps, *goal[shared:]])


def join_styles(path: str, files: Mapping[str, bytes]) -> str:
    """One style sheet: every `@import "x.css" layer(y);` replaced by its text in that layer."""

    def inline(match: re.Match[str]) -> str:
        inner = resolve(path, match["path"])
        if inner not in files:
            raise BuildError(f"{path} imports {match['path']}, which does not exist")
        text = join_styles(inner, files)
        layer = (match["layer"] or "").strip().removeprefix("layer(").removesuffix(")")
        return f"@layer {layer} {{\n{text}\n}}\n" if layer else text

    return CSS_IMPORT.sub(inline, files[path].decode())


def lighter(text: str) -> str:
    """A file without what only its reader needs: comments (one with a quote in it stays at the
    end of a line, where it might be a string), indentation, empty lines, the end of an open line.
    Text over several lines (`…`) means its blanks: a file with some stays as it is written.
    """
    if any(line.count("`") % 2 for line in text.splitlines()):
        return DOC_COMMENT.sub("", text)
    return OPEN_END.sub(r"\1", INDENT.sub("", COMMENT.sub("", text)))


def build_modules(entry: str, files: Mapping[str, bytes]) -> dict[str, tuple[str, bytes]]:
    """Source path → (built path, content) of `entry` and all it reaches, leaves first. Cycles
    are refused.
    """
    built: dict[str, tuple[str, bytes]] = {}
    above: list[str] = []

    def visit(path: str) -> str:
        if path in built:
            return built[path][0]
        if path in above:
            raise BuildError(
                "modules import one another in a circle: " + " → ".join([*above, path])
            )
        if path not in files:
            raise BuildError(
                f"{above[-1] if above else 'index.html'} imports {path}, which does not exist"
            )
        above.append(path)
        here = f"assets/{path}"

        def rewrite(match: re.Match[str]) -> str:
            target = visit(resolve(path, match["path"]))
            return f"{match['head']}{match['quote']}{relative(here, target)}{match['quote']}"

        text = lighter(files[path].decode())
        content = SPECIFIER.sub(rewrite, text).encode()
        above.pop()
        built[path] = (hashed_name(path, content), content)
        return built[path][0]

    visit(entry)
    return built


def build(files: Mapping[str, bytes], entry: str = "main.js") -> dict[str, bytes]:
    """Built path → content, from the sources; pure."""
    modules = build_modules(entry, files)
    out = dict(modules.values())
    page = files["index.html"].decode()

    def place(match: re.Match[str]) -> str:
        path = match["path"].removeprefix("./")
        if path in modules:
            return f'{match["head"]}"/{modules[path][0]}"'
        if path not in files:
            raise BuildError(f"index.html names {path}, which does not exist")
        content = files[path]
        if path.endswith((".css", ".js")):
            content = lighter(join_styles(path, files)).encode()
        name = hashed_name(path, content)
        out[name] = content
        return f'{match["head"]}"/{name}"'

    page = HTML_ASSET.sub(place, page)
    preload = "".join(
        f'    <link rel="modulepreload" href="/{name}">\n' for name, _ in modules.values()
    )
    if "</head>" not in page:
        raise BuildError("index.html has no </head>")
    out["index.html"] = page.replace("  </head>", f"{preload}  </head>").encode()
    return out


def write(built: Mapping[str, bytes], out: Path) -> None:
    """`out` holds exactly `built`, and a .gz beside each file worth one; swapped in whole."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for path, content in built.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if target.suffix in COMPRESSED and len(content) > 512:
            target.with_name(target.name + ".gz").write_bytes(gzip.compress(content, 9, mtime=0))
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """Builds the page; 1 with one line on stderr when it cannot."""
    parser = argparse.ArgumentParser(prog="build.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=HERE / "dist", help="where to write (default: dist)"
    )
    parser.add_argument(
        "--uplot", type=Path, help="folder of uplot.iife.min.js (default: the wheel youplot)"
    )
    args = parser.parse_args(argv)
    try:
        built = build(read_sources(HERE / "index.html", HERE / "src", find_uplot(args.uplot)))
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    write(built, args.out.resolve())
    kilobytes = sum(len(gzip.compress(content)) for content in built.values()) / 1024
    print(f"{args.out}: {len(built)} files, {kilobytes:.0f} kB gzipped")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
