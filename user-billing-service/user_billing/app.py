"""The composition root: the only place where parts are chosen and joined."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio.to_thread
from fastapi import FastAPI
from pydantic import SecretStr

from . import __version__
from .accounts.audit import Audit
from .accounts.keyring import Keyring
from .accounts.keys import Keys
from .accounts.members import Members
from .accounts.passwords import Passwords
from .accounts.sessions import Sessions
from .accounts.setup import Bootstrap, FirstStart
from .accounts.signing import SigningKeys
from .accounts.throttle import Throttle
from .accounts.tokens import Tokens
from .api import audit, internal, keys, members, probes, problems, sessions
from .api.body_limit import BodyLimit
from .api.deps import Services
from .background import Background
from .clock import Clock, SystemClock
from .db.session import Database, make_engine, revision
from .db.tables import SCHEMA_REVISION
from .errors import DatabaseUnavailable
from .settings import Settings
from .telemetry import RequestLog


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """The service, complete; it connects to nothing before it runs.

    Raises BadInput when a bootstrap variable could never work.
    """
    wanted = _bootstrap(settings)
    wanted.check()
    services, background = wire(settings, clock or SystemClock(), wanted)
    drain = probes.Drain()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
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
    app.state.drain = drain
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestLog, service="ubs")
    problems.install(app)
    app.include_router(probes.router(_checks(services.database, background), drain=drain))
    app.include_router(internal.public_router)
    for part in (sessions, keys, members, audit, internal):
        app.include_router(part.router)
    return app


def wire(settings: Settings, clock: Clock, wanted: Bootstrap) -> tuple[Services, Background]:
    """Every part, joined; used by the application and by one-off commands."""
    engine = make_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.ubs_pool_size,
        overflow=settings.ubs_pool_overflow,
        statement_timeout_ms=settings.ubs_statement_timeout_ms,
        lock_timeout_ms=settings.ubs_lock_timeout_ms,
    )
    database = Database(engine)
    keyring = Keyring(settings.ubs_secret_key.get_secret_value())
    passwords = Passwords(slots=settings.ubs_hashing_slots, queue=settings.ubs_hashing_queue)
    throttle = Throttle(database, clock, keyring)
    session_parts = Sessions(database, clock, keyring, passwords, throttle)
    signing = SigningKeys(
        database, clock, keyring, rotate_after=timedelta(days=settings.ubs_signing_key_days)
    )
    key_parts = Keys(database, clock, keyring)
    first_start = FirstStart(
        database,
        clock,
        keyring,
        passwords,
        throttle,
        sessions=session_parts,
        chosen_token=_text(settings.ubs_setup_token),
    )
    services = Services(
        settings=settings,
        database=database,
        audit=Audit(database),
        keys=key_parts,
        members=Members(
            database,
            clock,
            keyring,
            passwords,
            throttle,
            sessions=session_parts,
            organisations_max=settings.ubs_organisations_per_user_max,
        ),
        sessions=session_parts,
        first_start=first_start,
        signing=signing,
        tokens=Tokens(database, clock, signing),
    )
    background = Background(
        database=database,
        clock=clock,
        keys=key_parts,
        signing=signing,
        first_start=first_start,
        wanted=wanted,
        ui_public_url=settings.ui_public_url,
    )
    return services, background


def _bootstrap(settings: Settings) -> Bootstrap:
    return Bootstrap(
        organisation=settings.ubs_bootstrap_organisation,
        api_key=_text(settings.ubs_bootstrap_api_key),
        email=settings.ubs_bootstrap_email,
        password=_text(settings.ubs_bootstrap_password),
    )


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _checks(database: Database, background: Background) -> dict[str, probes.Check]:
    async def postgres() -> str:
        found = await anyio.to_thread.run_sync(revision, database.engine, abandon_on_cancel=True)
        if found < SCHEMA_REVISION or found == "none":
            raise DatabaseUnavailable(
                detail=f"schema billing is at {found}, this version needs {SCHEMA_REVISION}:"
                " run python -m user_billing.migrate"
            )
        return f"schema billing at {found}"

    async def first_start() -> str:
        if not background.started:
            raise DatabaseUnavailable(detail=background.waiting_for)
        return "done"

    return {"postgres": postgres, "first_start": first_start}
