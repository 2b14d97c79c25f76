"""`set-image`: the edit of one file on disk, whole or not at all."""

import os
import stat

import pytest

from ci import cli
from ci.context import Context
from ci.errors import OutsideFault, Refused, UsageError

BEFORE = "image:\n  repository: example.com/das\n  tag: 40 # é\n"
AFTER = 'image:\n  repository: example.com/das\n  tag: "41" # é\n'
DIFF = """\
--- a/{0}
+++ b/{0}
@@ -1,3 +1,3 @@
 image:
   repository: example.com/das
-  tag: 40 # é
+  tag: "41" # é
"""


@pytest.fixture
def file(tmp_path):
    """A values file."""
    path = tmp_path / "values.yaml"
    path.write_text(BEFORE)
    return path


def run(file, *more, key="image", image="example.com/das", tag="41"):
    """The command as the command line calls it."""
    asked = ["--file", str(file), "--key", key, "--image", image, "--tag", tag]
    context = Context(None, None, {}, None, dry_run="--dry-run" in more)
    return cli.call("set-image", [*asked, *more], context)


def left_in(folder):
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_edited_and_the_diff_is_told(file):
    """The file has the new image, and the answer has the diff and the changes."""
    outcome = run(file)
    assert file.read_text() == AFTER
    assert outcome.status == "changed"
    assert DIFF.format(str(file).lstrip("/")) in outcome.text
    assert outcome.facts["diff"] == DIFF.format(str(file).lstrip("/"))
    assert outcome.facts["changes"] == [{"key": "image.tag", "old": "40", "new": "41"}]
    assert outcome.facts["style"] == "repository+tag"


def test_the_second_run_says_that_there_is_nothing_to_do(file):
    """The file is not even touched."""
    run(file)
    before = file.stat()
    outcome = run(file)
    assert (outcome.status, outcome.facts["diff"], outcome.facts["changes"]) == ("nothing", "", [])
    after = file.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_dry_run_tells_the_same_and_writes_nothing(file):
    """The diff is that of the run; the file, and its folder, are as they were."""
    outcome = run(file, "--dry-run")
    assert outcome.facts["diff"] == DIFF.format(str(file).lstrip("/"))
    assert file.read_text() == BEFORE
    assert left_in(file.parent) == ["values.yaml"]
    assert run(file).facts == outcome.facts


def test_mode_and_links_stay(file):
    """A link goes on pointing to the file, which keeps its mode; nothing else is left behind."""
    file.chmod(0o640)
    link = file.with_name("link.yaml")
    link.symlink_to("values.yaml")
    run(link)
    assert link.is_symlink()
    assert file.read_text() == AFTER
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert left_in(file.parent) == ["link.yaml", "values.yaml"]


def test_a_write_that_fails_leaves_the_file_as_it_was(file, monkeypatch):
    """A full disk in the middle: the old bytes, and no rest beside them."""

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutsideFault, match="No space left on device"):
        run(file)
    assert file.read_text() == BEFORE
    assert left_in(file.parent) == ["values.yaml"]


def test_a_change_by_somebody_else_is_not_lost(file, monkeypatch):
    """Who writes between our reading and our writing wins, and we say so."""
    monkeypatch.setattr(os, "fsync", lambda _: file.write_text("theirs: 1\n"))
    with pytest.raises(OutsideFault, match="changed by somebody"):
        run(file)
    assert file.read_text() == "theirs: 1\n"


def test_a_tag_alone_may_pin(file):
    """`--pin tag` empties the digest that would win over it, and `--document` says where."""
    digest = "sha256:" + "ab" * 32
    file.write_text(f"x: 1\n---\n{BEFORE}  digest: {digest}\n")
    with pytest.raises(Refused) as refusal:
        run(file, "--document", "1")
    assert refusal.value.status == "digest_stays"
    run(file, "--document", "1", "--pin", "tag")
    assert file.read_text() == f'x: 1\n---\n{AFTER}  digest: ""\n'


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param({"image": "example.com/das:41"}, "has a tag", id="tag in the image"),
        pytest.param({"image": "example.com/das@sha256:1"}, "has a tag or", id="digest in it"),
        pytest.param({"image": "https://example.com/das"}, "has a scheme", id="scheme"),
        pytest.param({"image": "example.com/Das"}, "not a repository", id="capital letters"),
        pytest.param({"image": ""}, "not a repository", id="no image"),
        pytest.param({"image": "a b"}, "not a repository", id="blank"),
        pytest.param({"image": "../das"}, "not a repository", id="dots"),
        pytest.param({"image": "a/" * 130 + "a"}, "not a repository", id="too long"),
        pytest.param({"tag": ""}, "not an image tag", id="no tag"),
        pytest.param({"tag": ".x"}, "not an image tag", id="dot"),
        pytest.param({"tag": "a\n"}, "not an image tag", id="line end"),
        pytest.param({"tag": "x" * 129}, "not an image tag", id="129 characters"),
        pytest.param({"key": ""}, "character 1: a key was expected", id="no key"),
        pytest.param({"key": "a..b"}, "character 3: a key was expected", id="two dots"),
        pytest.param({"key": "image."}, "character 7: a key was expected", id="dot at the end"),
        pytest.param({"key": "a[-1]"}, "character 3: items are counted from 0", id="negative"),
        pytest.param({"key": "a[1"}, "character 4: a list item is", id="open bracket"),
        pytest.param({"key": "a[name=]"}, "character 8: a value was expected", id="no value"),
        pytest.param({"key": "a[b]c"}, "character 4: a list item is", id="no number"),
        pytest.param({"key": "a[0]c"}, 'character 5: "." or', id="nothing between"),
        pytest.param({"key": 'a."b'}, "character 3: a quote is opened", id="open quote"),
        pytest.param({"key": "a\\"}, "character 2: a backslash", id="backslash"),
        pytest.param({"key": "a\x00"}, "character 2: U\\+0000", id="NUL"),
        pytest.param({"key": "a\udcff"}, "character 2: U\\+DCFF", id="not UTF-8"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(file, asked, said):
    """A reference, a tag or a key that is none is told apart from a file that refuses."""
    with pytest.raises(UsageError, match=said):
        run(file, **asked)
    assert file.read_text() == BEFORE


@pytest.mark.parametrize("digest", ["", "sha256:12", "sha256:" + "G" * 64, "md5:" + "0" * 64])
def test_a_digest_is_sha256_and_64_digits(file, digest):
    """Anything else pins nothing."""
    with pytest.raises(UsageError, match=r"digest|sha256"):
        run(file, "--digest", digest)


def test_a_file_that_is_none_is_a_usage_error(file, tmp_path):
    """Missing, a folder, a pipe, a circle of links."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    for name, said in (
        ("missing", "No such file"),
        (".", "a folder"),
        ("pipe", "not a regular file"),
        ("values.yaml/x", "Not a directory"),
        ("circle", r"(?i)symbolic links|symlink loop"),
        ("nul\0", "null"),
    ):
        with pytest.raises(UsageError, match=said):
            run(f"{tmp_path}/{name}")


def test_a_refusal_names_the_file_and_the_place(file):
    """The way compilers write it, and as facts for programs."""
    with pytest.raises(Refused) as refusal:
        run(file, key="image.tga")
    assert str(refusal.value) == (
        f"{file}:2:3: image.tga is not there; image has repository, tag. Was image.tag meant?"
    )
    assert refusal.value.status == "no_match"
    assert refusal.value.facts == {
        "file": str(file),
        "line": 2,
        "column": 3,
        "prefix": "image",
        "keys": ["repository", "tag"],
    }


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        pytest.param(b"", "no_match", "empty", id="empty"),
        pytest.param(b"# only\n# comments\n", "no_match", "empty", id="comments"),
        pytest.param(b"---\n", "no_match", "single value", id="empty document"),
        pytest.param(b"image: a\0b", "unreadable", "1:9: the character U\\+0000", id="NUL"),
        pytest.param(b"image: \xed\xa0\x80", "unreadable", "1:8: not UTF-8", id="surrogate"),
        pytest.param("x: \x85".encode(), "unreadable", "1:4: the character U\\+0085", id="NEL"),
        pytest.param(b"a: 1\n\timage: 1", "unreadable", "2:1: not readable", id="tab"),
        pytest.param(b"[" * 100_000, "unreadable", "1:201: nested deeper", id="deep flow"),
        pytest.param(b"- " * 100_000, "unreadable", "1:401: nested deeper", id="deep block"),
        pytest.param(b"a: *b", "unreadable", "1:4: .*no anchor", id="alias of nothing"),
        pytest.param(b"#" * 3_000_000, "unreadable", "3000000 bytes", id="too large"),
        pytest.param(b'a: "\\UFFFFFFFF"', "unreadable", "not readable", id="no character"),
    ],
)
def test_hostile_files_are_refused_in_words(file, content, status, said):
    """Nothing ends in a traceback, and nothing is written."""
    file.write_bytes(content)
    with pytest.raises(Refused, match=said) as refusal:
        run(file)
    assert refusal.value.status == status
    assert file.read_bytes() == content


def test_lines_may_end_the_old_way(file):
    """A file whose lines end in carriage returns alone keeps them, and its diff can be read."""
    file.write_bytes(BEFORE.replace("\n", "\r").encode())
    outcome = run(file)
    assert file.read_bytes() == AFTER.replace("\n", "\r").encode()
    assert "\r" not in outcome.facts["diff"]
