"""The application: routes, middleware, probes, and what parts (services.py) do by themselves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import structlog
from fastapi import FastAPI

from user_billing import __version__
from user_billing.api.body_limit import BodyLimit
from user_billing.audit import endpoints as audit
from user_billing.background import FLUSH_S, QUOTAS_S, UPKEEP_S, Background, Chore
from user_billing.chassis import probes, problems
from user_billing.chassis.clock import Clock
from user_billing.chassis.database import DatabaseUnavailable
from user_billing.chassis.telemetry import RequestLog
from user_billing.costs import endpoints as costs
from user_billing.db.session import Database, revision
from user_billing.db.tables import SCHEMA_REVISION
from user_billing.factors import endpoints as factors
from user_billing.idempotency.http import KeepAnswers, Replay, replay
from user_billing.invoices import endpoints as invoices
from user_billing.keys import endpoints as keys
from user_billing.ledger import endpoints as ledger
from user_billing.members import endpoints as members
from user_billing.meters import endpoints as meters
from user_billing.oidc import endpoints as oidc
from user_billing.organisations import endpoints as organisations
from user_billing.people import endpoints as people
from user_billing.plans import endpoints as plans
from user_billing.quotas import endpoints as quotas
from user_billing.revocations import endpoints as revocations
from user_billing.service_accounts import endpoints as service_accounts
from user_billing.services import Services, text_of
from user_billing.sessions import endpoints as sessions
from user_billing.settings import Settings
from user_billing.setup import endpoints as setup
from user_billing.setup.service import Bootstrap
from user_billing.subscriptions import endpoints as subscriptions
from user_billing.teams import endpoints as teams
from user_billing.tokens import endpoints as tokens
from user_billing.usage import endpoints as usage
from user_billing.wallets import endpoints as wallets
from user_billing.webhooks import endpoints as webhooks

ROOMS = (
    setup, sessions, people, factors, oidc, tokens, keys, service_accounts, members,
    organisations, revocations, audit,
    meters, usage, teams, costs,
    plans, subscriptions, invoices, ledger, wallets, webhooks, quotas,
)  # fmt: skip
"""Whose routes there are."""

log = structlog.get_logger()


def create_app(settings: Settings, *, http: None = None, clock: Clock | None = None) -> FastAPI:
    """The service, complete; it connects to nothing before it runs.

    http: nothing, since this service calls no other. clock: the time of day, the machine's unless
    a test moves its own. Raises BadInput when a bootstrap variable could never work.
    """
    assert http is None
    wanted = _bootstrap(settings)
    wanted.check()
    services, background = wire(settings, clock or Clock(), wanted)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if text_of(settings.mail) == "console":
            log.warning("mail_console", note="links of letters are in the log: development only")
        background.start()
        yield
        await background.stop()
        services.database.engine.dispose()

    app = FastAPI(
        title="CloudOpsHub user-billing-service",
        description="Accounts, API keys, tokens and the limits of plans.",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # behind the door's prefix, a redirect would lead out of it
    )
    app.state.services = services
    app.add_middleware(KeepAnswers)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestLog, service="ubs")
    problems.install(app)
    app.add_exception_handler(Replay, replay)
    app.include_router(probes.router(_checks(services.database, background), drain=services.drain))
    for room in ROOMS:
        app.include_router(room.router)
    return app


def wire(settings: Settings, clock: Clock, wanted: Bootstrap) -> tuple[Services, Background]:
    """Every part, joined, and what it does by itself; for the application and one-off commands."""
    services = Services(settings, clock)
    return services, Background(services, wanted, _chores(services))


def _chores(services: Services) -> tuple[Chore, ...]:
    """What the rooms do by themselves."""
    return (
        Chore("quotas", QUOTAS_S, services.quotas.check_due),
        Chore("guard", UPKEEP_S, services.guard.look_due),
        Chore("usage", UPKEEP_S, services.intake.upkeep),
        Chore("subscriptions", FLUSH_S, services.subscriptions.follow),
        Chore("answers", UPKEEP_S, services.answers.sweep),
        Chore("wallets", UPKEEP_S, services.wallets.expire),
        Chore("periods", UPKEEP_S, services.periods.step),
        Chore("webhooks", UPKEEP_S, services.webhooks.sweep),
    )


def _bootstrap(settings: Settings) -> Bootstrap:
    return Bootstrap(
        organisation=settings.bootstrap_organisation,
        api_key=text_of(settings.bootstrap_api_key),
        email=settings.bootstrap_email,
        password=text_of(settings.bootstrap_password),
    )


def _checks(database: Database, background: Background) -> dict[str, probes.Check]:
    async def postgres() -> str:
        version = await anyio.to_thread.run_sync(revision, database.engine, abandon_on_cancel=True)
        if version < SCHEMA_REVISION or version == "none":
            raise DatabaseUnavailable(
                detail=f"schema billing is at {version}, this version needs {SCHEMA_REVISION}:"
                " run python -m user_billing.migrate"
            )
        return f"schema billing at {version}"

    async def first_start() -> str:
        if not background.started:
            raise DatabaseUnavailable(detail=background.waiting_for)
        return "done"

    return {"postgres": postgres, "first_start": first_start}
