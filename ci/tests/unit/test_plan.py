"""What is tested and built follows from what changed, and every decision names its reason."""

import pytest

from ci.config import PlanRules
from ci.errors import Defect
from ci.model import Service
from ci.plan import planning
from ci.plan import planning as decision
from ci.plan.planning import Base, BuildPlan, Part

RULES = PlanRules(
    ignored=("*.md", "docs/*"),
    test_only=("*/tests/*",),
    widens_tests=("ci/*.py", "Makefile"),
    widens_builds=("ci/ci.toml", "Jenkinsfile"),
)
DAS = Service(
    folder="data-api-service",
    code="das",
    image="cloudopshub-das",
    port=1,
    ready="/ready",
    metrics="/m",
    processes={},
)


def base(*changed):
    return Base("a" * 40, "what staging runs,", changed)


def part(*changed, tested=None, held=None):
    """The part of das after `changed`, `tested` being what changed since its last test."""
    tests = base(*changed) if tested is None else base(*tested)
    return decision.service_part(DAS, RULES, base(*changed), tests, held)


@pytest.mark.parametrize(
    ("path", "test", "build"),
    [
        pytest.param("data-api-service/data_api/engine.py", True, True, id="its code"),
        pytest.param("data-api-service/Dockerfile", True, True, id="its image"),
        pytest.param("data-api-service/tests/unit/test_engine.py", True, False, id="its tests"),
        pytest.param("data-api-service/README.md", False, False, id="its prose"),
        pytest.param("data-ingest-service/data_ingest/app.py", False, False, id="another's code"),
        pytest.param("ci/test/run.py", True, False, id="how tests run"),
        pytest.param("ci/tests/unit/test_plan.py", False, False, id="tests of how tests run"),
        pytest.param("ci/ci.toml", True, True, id="how everything is built"),
        pytest.param("Jenkinsfile", True, True, id="who builds everything"),
        pytest.param(
            "data-api-service-notes.txt", False, False, id="a name that only begins alike"
        ),
    ],
)
def test_a_path_asks_for_what_depends_on_it(path, test, build):
    """Code is tested and built, tests are tested, prose is neither; shared files widen the set."""
    planned = part(path)
    assert (planned.test, planned.build) == (test, build)
    assert planned.why
    assert (path in planned.why[0]) == (test or build)


def test_an_unknown_base_asks_for_everything():
    """Without a commit to compare with, a service is tested and built, and the plan says why."""
    unknown = Base(None, "nothing was ever deployed", None)
    planned = decision.service_part(DAS, RULES, unknown, unknown, None)
    assert (planned.test, planned.build) == (True, True)
    assert "nothing was ever deployed" in planned.why[0]


def test_what_was_tested_since_the_deployment_is_not_tested_again():
    """A change of tests that a good build has seen asks for nothing more."""
    planned = part("data-api-service/tests/test_das.py", tested=())
    assert (planned.test, planned.build) == (False, False)


def test_what_is_built_is_tested():
    """An image is never built of code whose tests did not run in the same plan."""
    planned = part("data-api-service/data_api/engine.py", tested=())
    assert (planned.test, planned.build) == (True, True)


def test_a_held_service_is_built_and_the_plan_says_that_it_stays():
    """A hold keeps the cluster where it is; it does not keep code untested."""
    planned = part("data-api-service/data_api/engine.py", held="slow queries")
    assert planned.build
    assert "slow queries" in planned.why[-1]


@pytest.mark.parametrize(
    ("changed", "scope"),
    [
        pytest.param((), "none", id="nothing"),
        pytest.param(("README.md", "docs/x.md"), "files", id="prose"),
        pytest.param(("README.md", "ci/cli.py"), "all", id="code"),
    ],
)
def test_lint_is_as_wide_as_the_change(changed, scope):
    """An empty change needs no lint, prose only the checks of files, anything else all."""
    assert decision.lint_scope(RULES, base(*changed)) == scope


def test_ci_is_tested_when_something_that_no_service_owns_changes():
    """A service's own change does not run the tests of ci; a change beside the services does."""
    assert not decision.ci_part(RULES, [DAS], base("data-api-service/data_api/engine.py")).test
    assert decision.ci_part(RULES, [DAS], base("docker-compose.yml")).test


def test_a_plan_survives_being_written_and_read(tmp_path):
    """The next stage reads the plan that was made; a file that is none is told by its keys."""
    made = BuildPlan(
        commit="a" * 40,
        tag="7-aaaaaaaa",
        may_not_publish=None,
        lint="all",
        parts=(Part("das", "data-api-service", True, True, ("because",)),),
    )
    file = tmp_path / "plan.json"
    file.write_bytes(planning.PLAN.dump_json(made))
    assert planning.read(file) == made
    assert made.chosen(["das"]) == made.chosen(["data-api-service"])
    file.write_text('{"parts": []}')
    with pytest.raises(Defect, match="commit is missing"):
        planning.read(file)


def test_the_first_line_of_a_plan_says_what_will_be_done():
    """The summary of a build shows that line."""
    parts = (part("data-api-service/data_api/engine.py"), decision.ci_part(RULES, [DAS], base()))
    text = str(BuildPlan("a" * 40, "7-aaaaaaaa", None, "all", parts))
    assert text.splitlines()[0] == "test das; build das; lint all; tag 7-aaaaaaaa"
