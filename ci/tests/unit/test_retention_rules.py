"""Which images may go."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ci.model import Deployment, ImageRef, Ledger
from ci.retention import rules
from ci.retention.rules import References, RegistryImage

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NOTHING = References(frozenset(), frozenset())


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def held(number: int, age_days: float = 100, tags: tuple[str, ...] | None = None) -> RegistryImage:
    named = (f"{number}-abc",) if tags is None else tags
    return RegistryImage("das", digest(number), named, NOW - timedelta(days=age_days))


def going(images, named=NOTHING, deployable=NOTHING, keep=1) -> list[str]:
    verdicts = rules.decide(
        {"das": images}, named, deployable, age=timedelta(days=14), now=NOW, keep=keep
    )
    return [each.image.tags[0] for each in verdicts if each.stays is None]


def deployment(number: int) -> Deployment:
    image = ImageRef("host/das", f"{number}-abc", digest(number))
    return Deployment(
        "staging", "das", image, "0" * 40, None, None, None, "run", "1" * 40, NOW, "bump"
    )


def test_only_old_unnamed_images_go():
    """Of five: named by digest, by tag, young, newest stay; one goes."""
    images = [held(1), held(2), held(3), held(4, age_days=3), held(5, age_days=1)]
    named = rules.references([f"digest: {digest(1)}\n# was 2-abc.\n".encode()])
    assert going(images, named) == ["3-abc"]


def test_the_newest_of_a_repository_stays_however_old():
    """A service that nobody changes keeps its image."""
    assert going([held(1, 400), held(2, 300)]) == ["1-abc"]


def test_what_a_rollback_may_choose_stays():
    """The last N different images before the one that runs, however often each was delivered."""
    ledger = Ledger({("staging", "das"): [deployment(n) for n in (9, 8, 9, 8, 7, 6)]})
    deployable = rules.deployable(ledger, rollbacks=2)
    assert deployable.digests == {digest(9), digest(8), digest(7)}
    assert going([held(n, 100 - n) for n in (6, 7, 8, 9)], deployable=deployable) == ["6-abc"]


@given(
    before=st.text(alphabet=" \n\"':=@{}[],/#|>", min_size=1, max_size=5),
    after=st.text(alphabet=" \n\"':=@{}[],/#|>", min_size=1, max_size=5),
    other=st.binary(max_size=50),
)
def test_a_reference_is_found_in_whatever_format(before, after, other):
    """Tag and digest are found between any punctuation, and beside any bytes."""
    for text in ("118-1a2b3c4d", digest(7)):
        found = rules.references([other + f"{before}{text}{after}".encode()])
        assert text in found.words | found.digests


@given(st.sets(st.integers(0, 30), max_size=20), st.sets(st.integers(0, 30), max_size=20))
def test_nothing_that_is_named_ever_goes(stored, named):
    """Whatever the registry and the manifests hold."""
    references = References(frozenset(digest(n) for n in named), frozenset())
    gone = set(going([held(n, age_days=100 + n) for n in stored], references))
    assert gone.isdisjoint(f"{n}-abc" for n in named)


def test_the_newest_of_a_repository_stay_as_many_as_were_asked_for():
    """Beside what is used and what is young, so many stay for whoever looks back."""
    images = [held(n, age_days=100 - n) for n in range(10)]
    assert going(images, keep=7) == ["2-abc", "1-abc", "0-abc"]


def test_a_record_stays_as_long_as_an_image_of_it():
    """Records go with the last image that has their tag."""
    verdicts = rules.records([held(1), held(2)], {"2-abc"})
    assert [each.stays is None for each in verdicts] == [True, False]
