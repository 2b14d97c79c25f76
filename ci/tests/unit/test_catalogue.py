"""The one list is read whole, and it is the truth about the folders."""

from pathlib import Path

import pytest

from ci import catalogue
from ci.errors import Defect, UsageError

TEXT = """
[[service]]
folder = "a-service"
code = "a"
package = "a_pkg"
image = "x-a"
port = 8000
ready = "/ready"
metrics = "/metrics"
migrate = "a_pkg.migrate"
processes = { a = "a_pkg", a-worker = "a_pkg.worker" }

[[service]]
folder = "page"
code = "ui"
image = "x-ui"
port = 8080
ready = "/ready"
metrics = "/stub_status"
processes = { ui = "nginx" }

[[twin]]
path = "{folder}/{package}/kinds.py"
in = ["a"]
also = ["ci/kinds.py"]

[top_level]
allowed = ["ci"]
"""


@pytest.fixture
def root(tmp_path):
    for path in (
        "a-service/pyproject.toml",
        "a-service/requirements.txt",
        "a-service/a_pkg/__init__.py",
        "page/pyproject.toml",
        "page/requirements.txt",
        "ci/pyproject.toml",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "ci" / "ci.toml").write_text(TEXT)
    return tmp_path


def test_the_list_of_this_repository_holds():
    """The committed list agrees with the committed folders."""
    listed = catalogue.load()
    assert [service.code for service in listed.services] == ["das", "dis", "aps", "ubs", "ui"]


def test_a_service_is_read_whole(root):
    """Each field of an entry arrives; names of twins are filled in; folders are top level."""
    listed = catalogue.load(root)
    a = listed.service("a")
    assert (a.folder, a.package, a.port, a.migrate) == ("a-service", "a_pkg", 8000, "a_pkg.migrate")
    assert a.processes == {"a": "a_pkg", "a-worker": "a_pkg.worker"}
    assert a.port_variable == "CLOUDOPSHUB_A_PORT"
    assert listed.twins[0].paths == ("a-service/a_pkg/kinds.py", "ci/kinds.py")
    assert listed.top_level == {"ci", "a-service", "page"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(
            lambda r: (r / "a-service/a_pkg/__init__.py").unlink(), "is missing", id="no package"
        ),
        pytest.param(lambda r: (r / "page/requirements.txt").unlink(), "is missing", id="no lock"),
        pytest.param(lambda r: make(r / "b-service/pyproject.toml"), "not listed", id="unlisted"),
        pytest.param(
            lambda r: (r / "ci/ci.toml").write_text(TEXT.replace("8080", "8000")),
            "twice",
            id="port",
        ),
        pytest.param(
            lambda r: (r / "ci/ci.toml").write_text(TEXT.replace("metrics =", "metric =")),
            "lacks a key.*'metrics'",
            id="key",
        ),
        pytest.param(lambda r: (r / "ci/ci.toml").write_text("[[service"), "no TOML", id="TOML"),
    ],
)
def test_a_list_that_lies_is_refused(root, spoil, said):
    """A folder, package or lock that is missing, unlisted or listed twice stops everything."""
    spoil(root)
    with pytest.raises(Defect, match=said):
        catalogue.load(root)


def test_a_service_is_found_by_folder_or_code(root):
    """Both names work; a wrong one is answered with the right ones."""
    listed = catalogue.load(root)
    assert catalogue.find(listed, "a") is catalogue.find(listed, "a-service")
    with pytest.raises(UsageError, match=r"page \(ui\)"):
        catalogue.find(listed, "nope")


def make(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
