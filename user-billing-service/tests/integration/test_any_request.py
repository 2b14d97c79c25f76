"""No request that OpenAPI allows, or nearly, is answered with a defect."""

import os

import pytest
import schemathesis
from conftest import INTERNAL
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode

EXAMPLES = int(os.environ.get("UBS_REQUESTS", "4"))
"""For each route and way: a lean run; more by hand."""
LEFT_OUT = {"/api/v1/logout", "/api/v1/oidc/{name}/callback"}


@pytest.fixture(scope="module")
def operations(hub):
    schema = schemathesis.openapi.from_dict(hub.app.openapi())
    return [one.ok() for one in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_a_defect(hub, operations, mode):
    """Whatever is sent to any route by its operator or a service, the answer is below 500."""
    faults = {}

    def send(operation):
        hub.clock.advance(hours=2)  # throttles forget
        founder = hub.log_in("founder@example.org")

        @seed(12)
        @settings(
            max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def try_it(case):
            if "organisation_id" in case.path_parameters:
                case.path_parameters["organisation_id"] = founder.org
            is_internal = operation.path.startswith("/internal/")
            answer = case.call(
                base_url=hub.base_url,
                headers=INTERNAL if is_internal else founder.headers(),
                cookies=dict(founder.http.cookies),
                timeout=90,  # a defect is printed with all its locals
            )
            if answer.status_code >= 500:
                faults.setdefault(operation.label, case.as_curl_command())

        try_it()

    for operation in operations:
        if operation.path not in LEFT_OUT:
            send(operation)
    assert not faults, "\n".join(f"{label}: {curl}" for label, curl in faults.items())
