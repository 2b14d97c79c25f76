"""Which place a key names, what stands there, and when an edit of it would not be alone."""

import pytest

from ci.errors import Defect, Refused
from ci.manifests import current_image, edit, key_path, set_image
from ci.manifests.key_path import Item, Key, Named
from ci.model import ImageRef

DIGEST = "sha256:" + "ab" * 32
IMAGE = ImageRef("example.com/das", "41-1a2b", DIGEST)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("image", [Key("image")]),
        ("das.image.tag", [Key("das"), Key("image"), Key("tag")]),
        ("containers[0].image", [Key("containers"), Item(0), Key("image")]),
        ("containers.0.image", [Key("containers"), Key("0"), Key("image")]),
        ("[2]", [Item(2)]),
        ("a[0][1]", [Key("a"), Item(0), Item(1)]),
        ("c[name=web].image", [Key("c"), Named("name", "web"), Key("image")]),
        (
            "images[name=example.com:5000/das]",
            [Key("images"), Named("name", "example.com:5000/das")],
        ),
        ('c["a=b"="x]y"]', [Key("c"), Named("a=b", "x]y")]),
        ('"a.b".image', [Key("a.b"), Key("image")]),
        ("'a.b'.image", [Key("a.b"), Key("image")]),
        (r"a\.b.image", [Key("a.b"), Key("image")]),
        (r'"say \"hi\" \\".x', [Key('say "hi" \\'), Key("x")]),
        ('""', [Key("")]),
        ("two words.ключ", [Key("two words"), Key("ключ")]),
        ("a-b_c/d:e@f.g", [Key("a-b_c/d:e@f"), Key("g")]),
    ],
)
def test_a_key_is_a_dotted_path(text, steps):
    """Keys between dots, items in brackets by number or by a key, quotes around dots."""
    path = key_path.parse(text)
    assert list(path) == steps
    assert key_path.parse(key_path.written(path)) == path


@pytest.mark.parametrize(
    ("content", "key", "style", "told"),
    [
        ("image: {repository: a/das, tag: 0123}", "image", "repository+tag", "a/das:0123"),
        ("image: {repository: a/das, tag: ~}", "image", "repository+tag", "a/das"),
        ("i: {repository: a/das, digest: 'sha256:1'}", "i", "repository+digest", "a/das@sha256:1"),
        ("image: a:5000/das", "image", "reference", "a:5000/das"),
        ("image: a:5000/das:1@sha256:2", "image", "reference", "a:5000/das:1@sha256:2"),
        ("image: nginx", "image", "reference", "nginx"),
        ("das: 41@sha256:2", "das", "tag", "41@sha256:2"),
        ("tag: 41\ndigest: sha256:2", "digest", "tag+digest", "41@sha256:2"),
        ("digest: sha256:2", "digest", "digest", "sha256:2"),
        ("image: a/das\ntag: 1", "tag", "repository+tag", "a/das:1"),
        ("image: a/das\nimageTag: 1", "imageTag", "repository+tag", "a/das:1"),
        ("name: a/das\nversion: 1", "version", "repository+tag", "a/das:1"),
        ("name: das\nversion: 1", "version", "tag", "1"),
        ("image: {repository: a/das, imageTag: 2, tag: 1}", "image", "repository+tag", "a/das:1"),
        ("image: {repository: a, tag: 1, imageTag: 2}", "image.imageTag", "repository+tag", "a:2"),
        (
            "{name: x, image: a/das, digest: 'sha256:1'}",
            "digest",
            "repository+digest",
            "a/das@sha256:1",
        ),
        ("t: &t '1'\nimage: {repository: a/das, tag: *t}", "image", "repository+tag", "a/das:1"),
        ("b: &b {tag: 1}\ni:\n  <<: *b\n  repository: a/das", "i", "repository+tag", "a/das:1"),
        ("[{name: x, newTag: 1}]", "[0]", "kustomize newTag", "x:1"),
        (
            "[{name: x, newName: y, newTag: 1}]",
            "[name=x].newTag",
            "kustomize newName+newTag",
            "y:1",
        ),
        ("image:", "image", "reference", "nothing"),
    ],
)
def test_what_stands_there_is_read_whichever_way_it_is_written(content, key, style, told):
    """Repository, tag and digest, also through aliases and merges, which only an edit refuses."""
    reading = current_image(content.encode(), key)
    assert (reading.style, str(reading)) == (style, told)


@pytest.mark.parametrize(
    ("content", "key", "status"),
    [
        ("a: &a {<<: *a, x: 1}", "a.x", "anchor"),
        ("a: &a [*a]", "a[0]", "anchor"),
        ("image: a/das\n<<: {image: b/das}", "image", "merge"),
        ("<<: [{image: a/das}]", "image", "merge"),
        ("l: [&x {name: a, image: a/das}, *x]", "l[name=a].image", "duplicate_key"),
        ("l: [&x {name: a, image: a/das}, *x]", "l[1].image", "alias"),
        ("1: {image: a/das}\n'1': {image: a/das}", "1.image", "duplicate_key"),
        ("image: !tag {repository: a/das, tag: 1}", "image.tag", "tag"),
        ("image: ! a/das", "image", "tag"),
        ("image: {repository: a/das, tag}", "image", "no_slot"),
        ("image: {repository: a/das, ? tag : 1}", "image", "complex_key"),
        ("[? image : a/das]", "[0].image", "complex_key"),
        ("image: {{ .Values.image }}", "image", "unreadable"),
        ("image: &das:\n  repository: a/das\n  tag: 1", "image", "unreadable"),
        ("\ufeff\ufeffimage: a/das", "image", "unreadable"),
        ("a/das:1", "image", "no_match"),
        ("images: [{name: a}, {name: b}]", "images[name=c]", "no_match"),
        ("images: [{name: a}]", "images.name", "no_match"),
        ("image: {}", "image", "not_an_image"),
        ("image: []", "image", "not_an_image"),
        ("image: two words", "image", "not_an_image"),
        ("image: https://example.com/das:1", "image", "not_an_image"),
        ("das:", "das", "not_an_image"),
        (
            "image: {registry: example.com, repository: das, tag: 1}",
            "image.registry",
            "not_an_image",
        ),
    ],
)
def test_an_edit_that_would_not_be_alone_is_refused(content, key, status):
    """By name, as in the golden files."""
    with pytest.raises(Refused) as refusal:
        set_image(content.encode(), key, IMAGE)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    "key",
    ["env[value=x]", "env[name=x]", "env.0.image", "password", "password.image", "env[0].name"],
)
def test_a_refusal_tells_keys_and_names_and_no_value(key):
    """A values file may hold secrets, and what is refused ends in a log."""
    content = b"password: s3cret, s3cret\nenv: [{name: TOKEN, value: s3cret}]\no: 's3cret x'\n"
    with pytest.raises(Refused) as refusal:
        set_image(content, key, IMAGE, same_image=True, file="values.yaml")
    assert "s3cret" not in f"{refusal.value} {refusal.value.facts}"


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("name: &app das\n*app : {{image: {}}}\n", "das.image"),
        ("name: &app das\n*app :\n  image: {}\n", "das.image"),
        ("name: &app image\n*app : {}\n", "image"),
        ("a: &app das\nb: {{*app : {{image: {}}}}}\n", "b.das.image"),
    ],
)
def test_an_alias_as_a_key_is_no_obstacle(content, key):
    """The value behind `*app :` stands once, so its edit is alone."""
    done = set_image(content.format("a/das").encode(), key, ImageRef("example.com/das", "41-1a2b"))
    value = '"example.com/das:41-1a2b"' if "{{" in content else "example.com/das:41-1a2b"
    assert done.content.decode() == content.format(value)
    assert [change.key for change in done.changes] == [key]


def test_two_keys_that_an_alias_makes_equal_are_a_doubled_key():
    """Readers differ in which one wins."""
    with pytest.raises(Refused) as refusal:
        set_image(b"a: &app das\n*app : {image: x/a}\ndas: {image: x/b}\n", "das.image", IMAGE)
    assert refusal.value.status == "duplicate_key"


@pytest.mark.parametrize(
    ("before", "key", "after"),
    [
        ("i: {repository: e/das, tag: 1@DIGEST}", "i", "i: {repository: e/das, tag: 41-a}"),
        ("i: {repository: e/das, tag: 1}", "i.tag", "i: {repository: e/das, tag: 41-a}"),
        (
            "i:\n  repository: e/das\n  tag: '1'\n  digest: DIGEST # c\n",
            "i",
            "i:\n  repository: e/das\n  tag: '41-a'\n  digest: \"\" # c\n",
        ),
        (
            "i:\n  registry: e\n  repository: das\n  tag: 1-b\n  digest: 'DIGEST'\n",
            "i.digest",
            "i:\n  registry: e\n  repository: das\n  tag: 41-a\n  digest: ''\n",
        ),
        (
            "images:\n- name: das\n  newName: e/das\n  newTag: 1-b\n  digest: DIGEST\n",
            "images[name=das]",
            'images:\n- name: das\n  newName: e/das\n  newTag: 41-a\n  digest: ""\n',
        ),
        (
            "i: {repository: e/das, tag: 1, digest: ~}",
            "i",
            "i: {repository: e/das, tag: 41-a, digest: ~}",
        ),
        (
            "i:\n  repository: e/das\n  tag:\n  digest:\n",
            "i",
            "i:\n  repository: e/das\n  tag: 41-a\n  digest:\n",
        ),
        ("image: e/das:1@DIGEST", "image", "image: e/das:41-a"),
        ("image: e/das@DIGEST", "image", "image: e/das:41-a"),
        ("dasTag: 1-b@DIGEST", "dasTag", "dasTag: 41-a"),
        ("das: 1-b@DIGEST", "das", "das: 41-a"),
        ("tag: 1-b\ndigest: DIGEST", "digest", 'tag: 41-a\ndigest: ""'),
    ],
)
def test_pinned_by_tag_no_digest_is_left(before, key, after):
    """In every layout the file then renders repository:tag, whatever pinned it before."""
    image = ImageRef("e/das", "41-a", DIGEST)
    before, after = before.replace("DIGEST", DIGEST).encode(), after.encode()
    done = set_image(before, key, image, pin="tag")
    assert done.content == after
    assert set_image(after, key, image, pin="tag").changes == ()
    reading = current_image(after, key)
    assert (reading.tag, reading.digest) == ("41-a", None)
    assert current_image(set_image(after, key, image).content, key).digest == DIGEST


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("i: {repository: e/das, digest: DIGEST}", "i"),
        ("images: [{name: example.com/das, digest: DIGEST}]", "images[0]"),
        ("digest: DIGEST", "digest"),
        ("i: {repository: e/das, digest: ''}", "i"),
    ],
)
def test_a_tag_needs_a_key_to_pin_by(content, key):
    """Keys are never added, and a digest alone would be left with nothing."""
    with pytest.raises(Refused, match="no key to hold the tag") as refusal:
        set_image(content.replace("DIGEST", DIGEST).encode(), key, IMAGE, pin="tag")
    assert refusal.value.status == "no_slot"


@pytest.mark.parametrize("pin", ["digest", "tag"])
def test_one_document_of_several_is_read_and_edited(pin):
    """The others stay, also when they hold the same key."""
    content = b"image: e/das:1\n---\nimage: e/das:2\n--- # three\nimage: e/das:3\n"
    assert [current_image(content, "image", number).tag for number in range(3)] == ["1", "2", "3"]
    done = set_image(content, "image", ImageRef("e/das", "41-a"), document=1, pin=pin)
    assert done.content == content.replace(b"e/das:2", b"e/das:41-a")


def test_an_alias_that_says_so_already_is_nothing_to_do():
    """Only an edit would change two places; there is none."""
    content = b"t: &t '41'\nimage: {repository: &r example.com/das, tag: *t}\nr: *r\n"
    assert set_image(content, "image", ImageRef("example.com/das", "41")).changes == ()


def test_a_repository_that_readers_take_for_a_number_is_written_again():
    """Its text is right and its type is not."""
    done = set_image(b"image: {repository: 0123, tag: x}", "image", ImageRef("0123", "a"))
    assert done.content == b'image: {repository: "0123", tag: a}'


def test_the_same_image_may_move_to_another_registry():
    """Its last part says what it is; the caller sees what stood there."""
    done = set_image(b"image: docker.io/x/das:1", "image", IMAGE, same_image=True)
    assert done.before.repository == "docker.io/x/das"
    assert done.changes == (("image", "docker.io/x/das:1", str(IMAGE)),)


def test_an_image_that_is_none_there_yet_is_no_other_image():
    """An empty repository is filled."""
    done = set_image(b"image: {repository: '', tag: ''}", "image", IMAGE, same_image=True)
    assert [change.old for change in done.changes] == [None, None]


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("quoted", lambda text, style: f"{style}{text}{style} # more"),
        ("quoted", lambda text, style: f"{style}{text}x{style}"),
        ("quoted", lambda text, style: f"{style}{text}{style}\nmore: 1"),
        ("quoted", lambda text, style: f"{style}{text}"),
        ("quoted", lambda text, _: text),
        ("_spliced", lambda text, splices: REAL_SPLICED(text, splices).replace("# c", "#")),
        ("_spliced", lambda text, splices: REAL_SPLICED(text, splices).replace("one", "two")),
        ("_spliced", lambda text, _: text),
    ],
)
def test_a_fault_in_the_edit_itself_is_found_before_anything_is_written(monkeypatch, name, broken):
    """The proof is made from the new bytes: a planted fault never gets out."""
    monkeypatch.setattr(edit, name, broken)
    with pytest.raises(Defect):
        set_image(b"tag: 'x'  # c\nother: one\n", "tag", ImageRef("das", "41"))


REAL_SPLICED = edit._spliced
