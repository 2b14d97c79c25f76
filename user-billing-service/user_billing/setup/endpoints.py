"""The first start, and which organisation it made."""

from fastapi import Response, status

from user_billing.api.deps import ClientDep, MetricStore, RequestId, SameOrigin, ServicesDep
from user_billing.api.internal import router
from user_billing.sessions.endpoints import render, router
from user_billing.sessions.views import SessionView
from user_billing.setup.views import SetUpBody, SetUpView


@router.get("/home-organisation", dependencies=[MetricStore])
def home_organisation(services: ServicesDep) -> dict[str, str | None]:
    """The organisation that the hub's own metrics belong to; null before the first start."""
    home = services.first_start.home_organisation()
    return {"tenant": None if home is None else str(home)}


@router.get("/setup")
def read_setup(services: ServicesDep) -> SetUpView:
    """Whether the installation waits for its owner."""
    return SetUpView(needed=services.first_start.is_needed())


@router.post("/setup", status_code=status.HTTP_201_CREATED, dependencies=[SameOrigin])
def set_up(
    body: SetUpBody,
    response: Response,
    services: ServicesDep,
    client: ClientDep,
    rid: RequestId,
) -> SessionView:
    """The owner and the name of the first organisation, by the one-time link."""
    opened = services.first_start.complete(
        token=body.token,
        email=body.email,
        password=body.password,
        organisation=body.organisation,
        client=client,
        request_id=rid,
    )
    return render(response, services.settings, opened)
