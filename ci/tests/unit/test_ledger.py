"""The book of deliveries: what is written is read back, and nothing else is believed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.bump import ledger
from ci.bump.ledger import Delivered, Entry
from ci.errors import Refused
from ci.model import ImageRef, ManifestCommit, Release
from ci.tools.git_rules import trailers_of

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
A, B = "a" * 40, "b" * 40
DIGEST = "sha256:" + "0" * 64


def image(tag, code="das"):
    return ImageRef(f"registry.example/hub/cloudopshub-{code}", tag, DIGEST)


RELEASE = Release(
    run_id="hub-1-aaaaaaaa",
    tag="1-a",
    build="1",
    build_url="https://jenkins.example/1/",
    source_commit=A,
    source_repo="https://git.example/hub.git",
    committed_at=AT,
    images={},
)


def entry(**other):
    given = {
        "environment": "staging",
        "kind": "bump",
        "run_id": RELEASE.run_id,
        "delivered": [Delivered("das", image("1-a"), A, "registry.example/x:0-z")],
        "origin": RELEASE,
    }
    return Entry(**{**given, **other})


def commits(*messages):
    """Commits with these messages, given oldest first, as git lists them."""
    made = [
        ManifestCommit(f"{number:040x}", AT + timedelta(hours=number), trailers_of(text))
        for number, text in enumerate(messages, 1)
    ]
    return made[::-1]


def test_a_message_reads_back_as_what_was_delivered():
    """Subject for people, trailers for the next run."""
    text = ledger.message(entry())
    assert text.startswith("staging: das 0-z → 1-a\n\n")
    book = ledger.read(commits(text))
    runs = book.running("staging", "das")
    assert (runs.image, runs.source_commit, runs.committed_at) == (image("1-a"), A, AT)
    assert (runs.build, runs.build_url, runs.kind) == ("1", "https://jenkins.example/1/", "bump")
    assert runs.run_id == "hub-1-aaaaaaaa"
    assert book.running("production", "das") is None


def test_trailers_stand_in_one_order():
    """What another program greps for stays where it is."""
    keys = [key for key, _ in ledger.trailers(entry(holds={"das": "x"}))]
    assert keys == [
        "Environment", "Kind", "Ci-Run-Id", "Release-Tag", "Build-Number", "Build-URL",
        "Source-Repo", "Source-Commit", "Source-Committed-At", "Image-das", "Hold-das",
    ]  # fmt: skip


def test_the_newest_delivery_runs_and_the_older_ones_remain():
    """They are what a rollback may choose from."""
    newer = entry(delivered=[Delivered("das", image("2-b"), B)], run_id="r2")
    book = ledger.read(commits(ledger.message(entry()), ledger.message(newer)))
    tags = [each.image.tag for each in book.deployments["staging", "das"]]
    assert tags == ["2-b", "1-a"]


def test_a_promotion_of_two_sources_names_both():
    """The common commit in one trailer, the odd one in its own; who built it is looked up."""
    both = [Delivered("das", image("1-a"), A), Delivered("dis", image("2-b", "dis"), B)]
    promote = entry(
        environment="production", kind="promote", delivered=both, run_id="p", origin=None
    )
    book = ledger.read(commits(ledger.message(entry()), ledger.message(promote)))
    assert book.running("production", "das").source_commit == A
    assert book.running("production", "dis").source_commit == B
    assert book.running("production", "das").build == "1"
    assert book.running("production", "das").committed_at == AT


def test_a_hold_lasts_until_its_release():
    """And its reason is kept."""
    back = ledger.message(entry(kind="rollback", run_id="b", holds={"das": "it leaks"}))
    again = ledger.message(entry(kind="release", run_id="c", delivered=(), releases={"das": "ok"}))
    held = ledger.read(commits(back))
    assert held.holds["staging", "das"].reason == "it leaks"
    assert ledger.read(commits(back, again)).holds == {}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("Environment: staging\nKind: bump\nImage-das: a:b", id="no body"),
        pytest.param("x\n\nKind: bump\nImage-das: a/cloudopshub-das:1", id="no environment"),
        pytest.param("x\n\nEnvironment: staging\nKind: fly\nImage-das: a:1", id="unknown kind"),
        pytest.param("x\n\nEnvironment: staging\nKind: bump\nImage-das: nonsense", id="no image"),
        pytest.param("x\n\nEnvironment: staging\nKind: bump\nImage-das: a:1", id="no source"),
        pytest.param(
            f"x\n\nEnvironment: staging\nKind: bump\nSource-Commit: {A[:8]}\nImage-das: a:1",
            id="short source",
        ),
        pytest.param(
            f"x\n\nEnvironment: staging\nKind: bump\nSource-Commit: {A}\nImage-das: a:1\n\nthe end",
            id="not last",
        ),
    ],
)
def test_commits_of_others_are_stepped_over(text):
    """Odd trailers deliver nothing and break nothing."""
    book = ledger.read(commits(ledger.message(entry()), text))
    assert book.running("staging", "das").image == image("1-a")


def test_of_a_trailer_that_stands_twice_the_first_counts():
    """Whatever a hook or a person adds below does not change what was delivered."""
    text = ledger.message(entry()) + f"Image-das: {image('9-z')}\nKind: rollback\n"
    runs = ledger.read(commits(text)).running("staging", "das")
    assert (runs.image, runs.kind) == (image("1-a"), "bump")


@pytest.mark.parametrize(
    ("said", "at"),
    [
        pytest.param("2026-01-31T13:00:00+01:00", AT, id="another zone"),
        pytest.param("2026-01-31T12:00:00", AT, id="no zone"),
        pytest.param("yesterday", None, id="no time"),
    ],
)
def test_a_time_is_told_in_utc_or_not_at_all(said, at):
    """Times of two commits are compared, so each is aware."""
    text = ledger.message(entry()).replace(AT.isoformat(), said)
    assert ledger.read(commits(text)).running("staging", "das").committed_at == at


def test_a_folded_trailer_is_one():
    """Git folds a long value into lines that begin with a blank."""
    text = ledger.message(entry()) + "Hold-das: it leaks\n  since Monday\n"
    assert ledger.read(commits(text)).holds["staging", "das"].reason == "it leaks since Monday"


@given(st.text(max_size=300))
def test_any_message_can_be_read(text):
    """No commit message makes the book unreadable, or hides what was delivered."""
    book = ledger.read(commits(ledger.message(entry()), text or " "))
    assert book.running("staging", "das") is not None


@given(st.text(min_size=1, max_size=60))
def test_no_value_forges_a_trailer(text):
    """A value is read back as it is, or refused; it never adds a line."""
    try:
        message = ledger.message(entry(kind="rollback", holds={"das": text}))
    except Refused as refused:
        assert refused.status == "trailer"  # noqa: PT017  either is fine, and this is the law
        return
    known = trailers_of(message)
    assert known == ledger.trailers(entry(kind="rollback", holds={"das": text}))


@given(st.text(max_size=60))
def test_what_stood_in_a_file_forges_nothing_either(text):
    """The old value of a manifest is anybody's text."""
    message = ledger.message(entry(delivered=[Delivered("das", image("1-a"), A, text)]))
    assert trailers_of(message) == ledger.trailers(entry())


def test_a_subject_stays_short():
    """Many services are named without what they were."""
    codes = [f"service-{number}" for number in range(4)]
    many = [Delivered(code, image("118-1a2b3c4d", code), A, "r/x:117-0a1b2c3d") for code in codes]
    subject = ledger.message(entry(delivered=many)).split("\n")[0]
    assert len(subject) <= 100
    assert subject.endswith("service-3 → 118-1a2b3c4d")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "x", ""])
def test_a_time_that_is_none_is_not_known(at):
    """A trailer of a person may say anything; the delivery is read all the same."""
    text = f"by hand\n\nEnvironment: staging\nKind: bump\nSource-Commit: {A}\n"
    book = ledger.read(commits(f"{text}Source-Committed-At: {at}\nImage-das: {image('1-a')}"))
    assert book.running("staging", "das").committed_at is None


def test_a_reason_that_cannot_be_written_is_refused():
    """Bytes of a command line that are not UTF-8 come as what no file can hold."""
    with pytest.raises(Refused, match="plain line"):
        ledger.one_line("the reason", "caf\udce9")


def test_trailers_that_a_person_pasted_change_no_origin():
    """An image is built once: what a later message says of its source is not believed."""
    text = ledger.message(entry())
    pasted = "docs: about a delivery\n\n" + text.replace(A, B).split("\n\n")[-1]
    runs = ledger.read(commits(text, pasted)).running("staging", "das")
    assert runs.source_commit == A
