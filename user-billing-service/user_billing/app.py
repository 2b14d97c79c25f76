"""The composition root: the only place where parts are chosen and joined."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import anyio.to_thread
import structlog
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.orm import Session

from user_billing import __version__
from user_billing.api.body_limit import BodyLimit
from user_billing.api.deps import Services
from user_billing.audit import endpoints as audit
from user_billing.audit.service import Audit
from user_billing.background import FLUSH_S, QUOTAS_S, UPKEEP_S, Background, Chore
from user_billing.chassis import probes, problems
from user_billing.chassis.callers import Buckets
from user_billing.chassis.clock import Clock
from user_billing.chassis.database import DatabaseUnavailable
from user_billing.chassis.guard import parse_networks
from user_billing.chassis.postgres import open_engine
from user_billing.chassis.telemetry import RequestLog
from user_billing.costs import endpoints as costs
from user_billing.costs.service import Costs
from user_billing.db.session import Database, revision
from user_billing.db.tables import SCHEMA_REVISION
from user_billing.factors import endpoints as factors
from user_billing.factors.service import Factors
from user_billing.idempotency.http import KeepAnswers, Replay, replay
from user_billing.idempotency.service import Answers
from user_billing.invoices import endpoints as invoices
from user_billing.invoices import sql as invoices_sql
from user_billing.invoices.corrections import Corrections
from user_billing.invoices.periods import Periods
from user_billing.invoices.sellers import Sellers
from user_billing.invoices.service import Invoices
from user_billing.keyring import Keyring
from user_billing.keys import endpoints as keys
from user_billing.keys.service import Keys
from user_billing.ledger import endpoints as ledger
from user_billing.ledger.service import Ledger
from user_billing.mail.senders import sender_of
from user_billing.mail.service import Mail
from user_billing.members import endpoints as members
from user_billing.members.service import Members
from user_billing.meters import endpoints as meters
from user_billing.meters.service import Meters
from user_billing.oidc import endpoints as oidc
from user_billing.oidc.service import Oidc
from user_billing.organisations import endpoints as organisations
from user_billing.organisations.service import Organisations
from user_billing.people import endpoints as people
from user_billing.people.passwords import Passwords
from user_billing.people.privacy import Privacy
from user_billing.people.service import People
from user_billing.plans import endpoints as plans
from user_billing.plans.service import Plans
from user_billing.quotas import endpoints as quotas
from user_billing.quotas.guard import Guard
from user_billing.quotas.service import Quotas, note
from user_billing.rating.model import Json
from user_billing.revocations import endpoints as revocations
from user_billing.service_accounts import endpoints as service_accounts
from user_billing.service_accounts.service import ServiceAccounts
from user_billing.sessions import endpoints as sessions
from user_billing.sessions.service import Sessions
from user_billing.settings import Settings
from user_billing.setup import endpoints as setup
from user_billing.setup.service import Bootstrap, FirstStart
from user_billing.subscriptions import endpoints as subscriptions
from user_billing.subscriptions.service import Subscriptions
from user_billing.teams import endpoints as teams
from user_billing.teams.service import Teams
from user_billing.throttle.service import Throttle
from user_billing.tokens import endpoints as tokens
from user_billing.tokens.service import Tokens
from user_billing.tokens.signing import SigningKeys
from user_billing.usage import endpoints as usage
from user_billing.usage.intake import Intake
from user_billing.usage.service import Usage
from user_billing.wallets import endpoints as wallets
from user_billing.wallets.service import Wallets
from user_billing.webhooks import endpoints as webhooks
from user_billing.webhooks.delivery import Courier
from user_billing.webhooks.outbox import emit
from user_billing.webhooks.rules import EventType
from user_billing.webhooks.service import Webhooks

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
        if _text(settings.mail) == "console":
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
    """Every part, joined; used by the application and by one-off commands."""
    database = _database(settings)
    keyring = Keyring(settings.secret_key.get_secret_value())
    passwords = Passwords(slots=settings.hashing_slots, queue=settings.hashing_queue)
    throttle = Throttle(database, clock, keyring)
    session_parts = Sessions(database, clock, keyring, passwords, throttle)
    signing = SigningKeys(
        database, clock, keyring, rotate_after=timedelta(days=settings.signing_key_days)
    )
    mail = _mail(settings, database, clock, keyring)
    key_parts = Keys(database, clock, keyring)
    first_start = FirstStart(
        database,
        clock,
        keyring,
        passwords,
        throttle,
        sessions=session_parts,
        chosen_token=_text(settings.setup_token),
    )
    member_parts = Members(
        database,
        clock,
        keyring,
        passwords,
        throttle,
        sessions=session_parts,
        mail=mail,
        organisations_max=settings.organisations_per_user_max,
    )
    answers, wallet_parts = Answers(database, clock, keyring), Wallets(database, clock)
    allowed = parse_networks(settings.webhook_allow)
    webhook_parts = Webhooks(database, clock, keyring, plain_http=bool(allowed))
    subscription_parts = Subscriptions(database, clock)
    invoice_parts = Invoices(database, clock, subscription_parts)
    grace = timedelta(hours=settings.billing_grace_hours)
    services = Services(
        settings=settings,
        clock=clock,
        drain=probes.Drain(),
        database=database,
        audit=Audit(database),
        keys=key_parts,
        members=member_parts,
        organisations=Organisations(database, clock),
        people=People(
            database, clock, keyring, passwords, throttle, sessions=session_parts, mail=mail
        ),
        privacy=Privacy(database, clock, mail),
        sessions=session_parts,
        first_start=first_start,
        signing=signing,
        tokens=Tokens(database, clock, signing),
        plans=Plans(database, clock),
        subscriptions=subscription_parts,
        teams=Teams(database, clock, invoiced_until=invoices_sql.invoiced_until),
        costs=Costs(database, clock),
        usage=Usage(database, clock),
        meters=Meters(database, clock),
        intake=Intake(database, clock),
        answers=answers,
        ledger=Ledger(database),
        wallets=wallet_parts,
        webhooks=webhook_parts,
        sellers=Sellers(database, clock),
        periods=Periods(database, clock, invoice_parts, grace),
        invoices=invoice_parts,
        corrections=Corrections(database, clock),
        quotas=Quotas(database, clock, emit=tell),
        guard=Guard(database, clock, emit=tell),
        factors=Factors(database, clock, keyring, throttle),
        oidc=Oidc(
            database,
            clock,
            keyring,
            passwords,
            throttle,
            sessions=session_parts,
            providers=settings.oidc,
            public_url=settings.ui_public_url,
        ),
        service_accounts=ServiceAccounts(database, clock),
        buckets=Buckets(),
    )
    background = Background(
        database=database,
        clock=clock,
        keys=key_parts,
        members=member_parts,
        mail=mail,
        signing=signing,
        first_start=first_start,
        chores=_chores(services),
        courier=Courier(database, clock, keyring, allowed),
        wanted=wanted,
        ui_public_url=settings.ui_public_url,
    )
    return services, background


def tell(
    session: Session, org: UUID, kind: str, payload: Mapping[str, Json], now: datetime
) -> None:
    """The organisation's webhooks are told, and a notice stays for the page."""
    note(session, org, kind, payload, now)
    emit(session, org, EventType(kind), payload, now)


def _database(settings: Settings) -> Database:
    engine = open_engine(
        settings.database_url.get_secret_value(),
        "cloudopshub-ubs",
        pool_size=settings.pool_size,
        overflow=settings.pool_overflow,
        statement_timeout_ms=settings.statement_timeout_ms,
        lock_timeout_ms=settings.lock_timeout_ms,
    )
    return Database(engine)


def _chores(services: Services) -> tuple[Chore, ...]:
    """What the rooms do by themselves."""
    return (
        Chore("quotas", QUOTAS_S, services.quotas.check_due),
        Chore("quotas' notices", UPKEEP_S, services.quotas.sweep),
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
        api_key=_text(settings.bootstrap_api_key),
        email=settings.bootstrap_email,
        password=_text(settings.bootstrap_password),
    )


def _mail(settings: Settings, database: Database, clock: Clock, keyring: Keyring) -> Mail:
    where = _text(settings.mail)
    host = urlsplit(settings.ui_public_url).hostname or "localhost"
    return Mail(
        database,
        clock,
        keyring,
        sender=None if where is None else sender_of(where),
        sent_from=settings.mail_from or f"CloudOpsHub <cloudopshub@{host}>",
        url=settings.ui_public_url,
    )


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


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
