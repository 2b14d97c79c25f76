"""What `make lint` says of twins, locks and the tree."""

from pathlib import Path

import pytest

from ci import lint as checks
from ci.model import Catalogue, Service, Twin

TWIN = Twin("kinds.py", ("a/kinds.py", "b/kinds.py", "c/kinds.py"))
GOOD = "a==1.0 \\\n    --hash=sha256:00\nb==2 ; python_version < '3.13' \\\n    --hash=sha256:11\n"


def test_equal_twins_have_no_fault():
    """The same bytes everywhere are what is wanted."""
    assert checks.twin_faults(TWIN, {path: {"": b"x"} for path in TWIN.paths}) == []


def test_the_odd_twin_is_named():
    """Of three copies the one that differs is at fault, not the two that agree."""
    files = {"a/kinds.py": {"": b"x"}, "b/kinds.py": {"": b"y"}, "c/kinds.py": {"": b"x"}}
    assert checks.twin_faults(TWIN, files) == ["b/kinds.py differs from its twin a/kinds.py"]


def test_a_missing_twin_is_named():
    """A place that should hold the file and does not is a fault."""
    files = {"a/kinds.py": {"": b"x"}, "b/kinds.py": {}, "c/kinds.py": {"": b"x"}}
    assert checks.twin_faults(TWIN, files) == ["b/kinds.py is missing (a twin)"]


FOLDER = Twin("chassis/", ("a/chassis/", "b/chassis/", "c/chassis/"))


def test_a_folder_of_twins_may_lack_what_its_service_does_not_need():
    """A file stands in two services or more, not in all of them."""
    files = {
        "a/chassis/": {"kinds.py": b"x", "identity/keys.py": b"k"},
        "b/chassis/": {"kinds.py": b"x", "identity/keys.py": b"k"},
        "c/chassis/": {"kinds.py": b"x"},
    }
    assert checks.twin_faults(FOLDER, files) == []


def test_each_fault_of_a_folder_of_twins_is_named():
    """A file needs no listing: it differs, it has no twin, or its folder is gone."""
    files = {
        "a/chassis/": {"kinds.py": b"x", "new.py": b"1"},
        "b/chassis/": {"kinds.py": b"y", "new.py": b"1", "alone.py": b"z"},
        "c/chassis/": {},
    }
    assert checks.twin_faults(FOLDER, files) == [
        "c/chassis/ is missing (a twin)",
        "b/chassis/alone.py has no twin: what one service needs is its own",
        "b/chassis/kinds.py differs from its twin a/chassis/kinds.py",
    ]


def test_a_pinned_and_hashed_lock_has_no_fault():
    """Exact versions with hashes, markers allowed, are what is wanted."""
    assert checks.lock_faults("requirements.txt", GOOD) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("--index-url https://x/simple\n" + GOOD, "address", id="index"),
        pytest.param("-f /wheels\n" + GOOD, "address", id="find-links"),
        pytest.param("a @ https://x/a.whl --hash=sha256:0\n", "address", id="direct"),
        pytest.param("a @ file:///a.whl\n", "address", id="file"),
        pytest.param("a>=1 --hash=sha256:0\n", "not pinned", id="range"),
        pytest.param("a==1\n", "no hash", id="unhashed"),
    ],
)
def test_a_loose_lock_is_at_fault(text, said):
    """Addresses, ranges and missing hashes are found."""
    assert any(said in fault for fault in checks.lock_faults("requirements.txt", text))


def test_the_tree_is_exactly_the_listed_one():
    """A stray name at the top and a service without its README are found."""
    service = Service(
        folder="s",
        code="s",
        package="pkg",
        image="x-s",
        port=1,
        ready="/r",
        metrics="/m",
        processes={},
    )
    listed = Catalogue(Path("/nowhere"), (service,), (), frozenset({"s", "README.md"}))
    names = ("Dockerfile", ".dockerignore", "pyproject.toml", "requirements.txt")
    tracked = [f"s/{name}" for name in names] + ["README.md", "notes.txt", "s/tests/test_s.py"]
    assert checks.tree_faults(listed, tracked) == [
        "notes.txt: not among the names of the top level (ci/ci.toml)",
        "s/README.md is missing",
        "s/requirements-dev.txt is missing",
    ]
