"""What may be asked of an edit, and how it says no."""

import pytest

from ci.errors import Refused, UsageError
from ci.manifests import current_image, set_image
from ci.model import ImageRef

BEFORE = "image:\n  repository: example.com/das\n  tag: 40 # é\n"
AFTER = 'image:\n  repository: example.com/das\n  tag: "41" # é\n'


def edited(content, key="image", image="example.com/das", tag="41", digest=None, **more):
    """`set_image`, as a handshake asks for it."""
    return set_image(content, key, ImageRef(image, tag, digest), file="values.yaml", **more)


def test_the_second_edit_says_that_there_is_nothing_to_do():
    """The bytes are the very same, and no change is told."""
    first = edited(BEFORE.encode())
    assert first.content == AFTER.encode()
    assert [change._asdict() for change in first.changes] == [
        {"key": "image.tag", "old": "40", "new": "41"}
    ]
    again = edited(first.content)
    assert (again.content, again.changes) == (first.content, ())


def test_a_tag_alone_may_pin():
    """`tag` empties the digest that would win over it, in the document that is named."""
    content = f"x: 1\n---\n{BEFORE}  digest: sha256:{'ab' * 32}\n".encode()
    with pytest.raises(Refused) as refusal:
        edited(content, document=1)
    assert refusal.value.status == "digest_stays"
    done = edited(content, document=1, pin="tag")
    assert done.content.decode() == f'x: 1\n---\n{AFTER}  digest: ""\n'


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param({"tag": ""}, "not an image tag", id="no tag"),
        pytest.param({"tag": ".x"}, "not an image tag", id="dot"),
        pytest.param({"tag": "a\n"}, "not an image tag", id="line end"),
        pytest.param({"tag": "x" * 129}, "not an image tag", id="129 characters"),
        pytest.param({"key": ""}, "character 1: a key", id="no key"),
        pytest.param({"key": "a..b"}, "character 2: a key", id="two dots"),
        pytest.param({"key": "image."}, "character 6: a key", id="dot at the end"),
        pytest.param({"key": "a[-1]"}, r"character 2: .*\[number\]", id="negative"),
        pytest.param({"key": "a[1"}, r"character 2: .*\[number\]", id="open bracket"),
        pytest.param({"key": "a[name=]"}, r"character 2: .*\[name=value\]", id="no value"),
        pytest.param({"key": "a[b]c"}, r"character 2: .*\[number\]", id="no number"),
        pytest.param({"key": "a[0]c"}, "character 5: a key", id="nothing between"),
        pytest.param({"key": 'a."b'}, "character 2: a key", id="open quote"),
        pytest.param({"key": "a\\"}, "character 2: a key", id="backslash"),
        pytest.param({"key": "a\x00"}, "character 2: U\\+0000", id="NUL"),
        pytest.param({"key": "a\udcff"}, "character 2: U\\+DCFF", id="not UTF-8"),
        pytest.param({"digest": "sha256:12"}, "sha256", id="short digest"),
        pytest.param({"digest": "sha256:" + "G" * 64}, "sha256", id="no hexadecimal digits"),
        pytest.param({"digest": "md5:" + "0" * 64}, "sha256", id="another digest"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(asked, said):
    """A tag, a digest or a key that is none is told apart from a file that refuses."""
    with pytest.raises(UsageError, match=said):
        edited(BEFORE.encode(), **asked)


def test_a_refusal_names_the_file_and_the_place():
    """The way compilers write it, and as facts for programs; of a look as of an edit."""
    with pytest.raises(Refused) as refusal:
        edited(BEFORE.encode(), key="image.tga")
    assert str(refusal.value) == (
        "values.yaml:2:3: image.tga is not there; image has repository, tag. Was image.tag meant?"
    )
    assert refusal.value.status == "no_match"
    assert refusal.value.facts == {"file": "values.yaml", "line": 2, "column": 3}
    with pytest.raises(Refused) as of_a_look:
        current_image(BEFORE.encode(), "image.tga", file="values.yaml")
    assert str(of_a_look.value) == str(refusal.value)


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
        pytest.param(BEFORE.encode(), "documents", "no document 1", id="no such document"),
    ],
)
def test_hostile_files_are_refused_in_words(content, status, said):
    """Nothing ends in a traceback."""
    with pytest.raises(Refused, match=said) as refusal:
        edited(content, document=1 if status == "documents" else None)
    assert refusal.value.status == status


def test_lines_may_end_the_old_way():
    """A file whose lines end in carriage returns alone keeps them."""
    done = edited(BEFORE.replace("\n", "\r").encode())
    assert done.content == AFTER.replace("\n", "\r").encode()
