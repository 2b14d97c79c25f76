"""Building the page: names made of contents, specifiers rewritten, trouble told before anything is
written.
"""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import build
import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

PAGE = b'<html><head>\n    <script type="module" src="main.js"></script>\n  </head></html>'


def files(**modules: str) -> dict[str, bytes]:
    """A page of these modules; `a__b` is a/b.js."""
    return {
        "index.html": PAGE,
        **{name.replace("__", "/") + ".js": text.encode() for name, text in modules.items()},
    }


def built_name(out: dict[str, bytes], stem: str) -> str:
    """The one built path of this stem."""
    (found,) = [
        path for path in out if re.fullmatch(rf"assets/(?:.*/)?{stem}\.[0-9a-f]{{6}}\.\w+", path)
    ]
    return found


def test_specifiers_name_the_hashed_files() -> None:
    """Every relative import points at the built name of what it imported, in either direction of
    the tree.
    """
    out = build.build(
        files(
            main='import { a } from "./lib/a.js";\na();',
            lib__a='export { b as a } from "../b.js";',
            b="export const b = 1;",
        )
    )
    assert (
        f'from "./{built_name(out, "a").removeprefix("assets/")}"'
        in out[built_name(out, "main")].decode()
    )
    assert (
        f'from "../{built_name(out, "b").removeprefix("assets/")}"'
        in out[built_name(out, "a")].decode()
    )


def test_a_change_below_renames_everything_above() -> None:
    """A cached name never means two contents: importers change names with what they import."""
    first = build.build(files(main='import "./a.js";', a="export const x = 1;"))
    second = build.build(files(main='import "./a.js";', a="export const x = 2;"))
    assert built_name(first, "main") != built_name(second, "main")


def test_text_that_looks_like_an_import_is_left_alone() -> None:
    """Only import and export statements at a line's start are rewritten."""
    text = 'const s = "from ./a.js";\nconst t = `import "./nothing.js"`;\n'
    out = build.build(files(main=text))
    assert out[built_name(out, "main")].decode() == text


def test_what_only_a_reader_needs_is_not_served() -> None:
    """Comments, blanks and open ends of lines stay behind; what stands within a string does
    not.
    """
    text = (
        "/** One\n * * two / three.\n */\n"
        'const s = "/** no comment */ // nor this";\n'
        "  // short\n"
        "\n  const n = 1; // at a line's end\n"
        "  const m = 2; // at its end\n"
        "  f(\n    1,\n    2, // it's two\n  );\n"
    )
    out = build.build(files(main=text))
    assert out[built_name(out, "main")].decode() == (
        'const s = "/** no comment */ // nor this";\n'
        "const n = 1; // at a line's end\n"
        "const m = 2;\n"
        "f(1,2, // it's two\n);\n"
    )


def test_text_over_several_lines_keeps_its_blanks() -> None:
    """A snippet in YAML is nothing without them: its module keeps all but its doc comments."""
    source = "const s = `a:\n  b: 1 // no comment\n`;\n  // short\n"
    out = build.build(files(main=f"/** Gone. */\n{source}"))
    assert out[built_name(out, "main")].decode() == source


def test_the_real_page_is_light(dist: Path) -> None:
    """At most 139 kB gzipped in all, billing, every analysis and events among them."""
    assert sum(path.stat().st_size for path in dist.rglob("*.gz")) <= 139 * 1024


def test_modules_in_a_circle_are_refused() -> None:
    """Two modules that import one another have no hash; the circle is named."""
    with pytest.raises(build.BuildError, match=r"main.js → a.js → main.js"):
        build.build(files(main='import "./a.js";', a='import "./main.js";'))


def test_what_does_not_exist_is_named_with_its_importer() -> None:
    """A missing module stops the build with both names."""
    with pytest.raises(build.BuildError, match=r"main.js imports gone.js"):
        build.build(files(main='import "./gone.js";'))
    with pytest.raises(build.BuildError, match="outside"):
        build.build(files(main='import "../../etc/passwd.js";'))


def test_styles_are_joined_into_their_layers() -> None:
    """@import with a layer becomes that layer's block: one request, the same cascade."""
    link = b'<link rel="stylesheet" href="styles/index.css">'
    page = PAGE.replace(b"<head>", b"<head>" + link)
    out = build.build(
        {
            "index.html": page,
            "main.js": b"",
            "styles/index.css": b'@layer a, b;\n@import "./one.css" layer(b);\n',
            "styles/one.css": b"p { color: red; }",
        }
    )
    joined = "".join(out[built_name(out, "index")].decode().split())
    assert joined == "@layera,b;@layerb{p{color:red;}}"


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_a_hashed_name_is_a_function_of_its_content(one: bytes, other: bytes) -> None:
    """Equal contents share a name, different ones do not."""
    assert (build.hashed_name("a.js", one) == build.hashed_name("a.js", other)) == (one == other)


def test_the_real_page_builds_the_same_twice(dist: Path, tmp_path: Path) -> None:
    """Two builds of one source are byte for byte equal, so an image layer and a cache survive a
    rebuild.
    """
    again = tmp_path / "again"
    assert build.main(["--out", str(again)]) == 0
    contents = {
        path.relative_to(dist): path.read_bytes() for path in dist.rglob("*") if path.is_file()
    }
    assert contents == {
        path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()
    }


def test_the_real_page_has_no_inline_script_and_no_foreign_address(dist: Path) -> None:
    """What the content policy forbids is not there to be forbidden."""
    page = (dist / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|style=|\son\w+=", page)
    for path in dist.rglob("*"):
        if path.suffix in {".html", ".css"}:
            assert "http" not in path.read_text(), path


def test_precompressed_files_hold_the_same_bytes(dist: Path) -> None:
    """Each .gz beside a file unpacks to that file."""
    packed = list(dist.rglob("*.gz"))
    assert len(packed) > 10
    for path in packed:
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()


def test_uplot_keeps_its_licence_line(dist: Path) -> None:
    """UPlot is MIT: its notice travels with it."""
    (vendored,) = (dist / "assets" / "vendor").glob("uplot.*.js")
    assert vendored.read_text().startswith("/*! https://github.com/leeoniya/uPlot")


def test_a_missing_uplot_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr with the command, and nothing written."""
    assert build.main(["--uplot", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "pip install --no-deps --require-hashes -r" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
