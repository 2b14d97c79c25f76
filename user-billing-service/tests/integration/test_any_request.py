"""No request that OpenAPI allows, or nearly allows, is answered with a defect."""

import contextlib
import os

import pytest
import schemathesis
from conftest import INTERNAL
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

EXAMPLES = int(os.environ.get("UBS_REQUESTS", "2"))
"""Of each route and mode: a lean run; more by hand."""


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_a_defect(hub, mode):
    """Whatever the operator or a service sends to any route, the answer is below 500."""
    schema = schemathesis.openapi.from_dict(hub.app.openapi())
    defects, people = {}, []

    def log_in():
        hub.clock.advance(hours=2)  # throttles forget
        people.append(hub.log_in("founder@example.org"))

    def send(operation):
        is_internal = operation.path.startswith("/internal/")

        @seed(12)
        @settings(
            max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def try_it(case):
            founder = people[-1]
            if "organisation_id" in case.path_parameters:
                case.path_parameters["organisation_id"] = founder.org
            answer = case.call(
                base_url=hub.base_url,
                headers=INTERNAL if is_internal else founder.headers(),
                cookies=dict(founder.http.cookies),
                timeout=600,  # a defect is printed with all its locals
            )
            if answer.status_code >= 500:
                defects.setdefault(operation.label, case.as_curl_command())
            if answer.status_code == 401 and not is_internal:
                log_in()

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong in it
            try_it()

    log_in()
    for operation in schema.get_all_operations():
        send(operation.ok())
    assert not defects, "\n".join(f"{label}: {curl}" for label, curl in defects.items())
