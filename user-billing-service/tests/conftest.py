"""One server for the run, one database a module, a fresh one where first start is meant.

The application is reached through a real socket: cookies, headers and threads are what users meet.
Organisations separate tests inside the shared database, as they separate tenants.
"""

import contextlib
import copy
import functools
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import uvicorn
from embedded_postgres import fresh_database, running_postgres
from fastapi import FastAPI
from hypothesis import settings as hypothesis_settings

from user_billing import migrate
from user_billing.app import create_app
from user_billing.chassis.clock import Clock
from user_billing.identifiers import new_id
from user_billing.people import passwords
from user_billing.settings import Settings

SERVICE_TOKEN = "service-token-of-the-tests-0123456789-abcdef"
SECRET_KEY = "secret-key-of-the-tests-0123456789-abcdefghi"
SETUP_TOKEN = "setup-token-of-the-tests-0123456789"
PASSWORD = "a phrase of several words"
UI = "http://localhost:8080"
INTERNAL = {"Authorization": f"Bearer {SERVICE_TOKEN}"}

# No test is timed: the machine may be busy.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")

_NUMBERS = itertools.count(1)

# Each client of httpx would read the machine's certificates anew: 20 ms, for plain http.
ssl.create_default_context = functools.cache(ssl.create_default_context)


class FixedClock(Clock):
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.instant = datetime.now(UTC)

    def now(self) -> datetime:
        return self.instant

    def advance(self, **by: float) -> None:
        self.instant += timedelta(**by)


def settings_for(database_url: str, **more: object) -> Settings:
    values = {
        "database_url": database_url,
        "service_token": SERVICE_TOKEN,
        "secret_key": SECRET_KEY,
        "plain_http": True,
        "ui_public_url": UI,
        "statement_timeout_ms": 600_000,
        "lock_timeout_ms": 600_000,
        **more,
    }
    return Settings(**values)


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The base URL of `app`, running in a thread until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


def replace(services, **parts):
    """The services with other parts."""
    other = copy.copy(services)
    vars(other).update(parts)
    return other


def wait_until(condition: Callable[[], bool], within_s: float = 600.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def is_ready(base_url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{base_url}/ready", timeout=600).status_code == 200
    return False


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def database_url(server_url: str) -> Iterator[str]:
    with fresh_database(server_url, "ubs") as url:
        migrate.upgrade(url)
        yield url


@pytest.fixture
def fresh_url(server_url: str) -> Iterator[str]:
    """A migrated database that nothing has started on."""
    with fresh_database(server_url, "ubs_fresh") as url:
        migrate.upgrade(url)
        yield url


@dataclass
class Browser:
    """A person at the dashboard: a cookie jar, the CSRF token, the page's origin."""

    http: httpx.Client
    session: dict = field(default_factory=dict)

    @property
    def org(self) -> str:
        return self.session["organisation"]["id"]

    @property
    def user_id(self) -> str:
        return self.session["user"]["id"]

    def adopt(self, response: httpx.Response) -> "Browser":
        assert response.status_code in {200, 201}, response.text
        self.session = response.json()
        return self

    def headers(self) -> dict[str, str]:
        return {"Origin": UI, "X-CSRF-Token": self.session.get("csrf_token", "")}

    def get(self, path: str, **more) -> httpx.Response:
        return self.http.get(path, **more)

    def post(self, path: str, json: object = None, **more) -> httpx.Response:
        return self.http.post(path, json=json, headers=self.headers(), **more)

    def patch(self, path: str, json: object) -> httpx.Response:
        return self.http.patch(path, json=json, headers=self.headers())

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(path, headers=self.headers())

    def new_key(self, *scopes: str, **more: object) -> dict:
        made = self.post("/api/v1/keys", {"name": "test", "scopes": list(scopes), **more})
        assert made.status_code == 201, made.text
        return made.json()


@dataclass
class Hub:
    """A running service and the people of the tests."""

    base_url: str
    app: FastAPI
    clock: FixedClock
    founder: Browser | None = None
    browsers: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def services(self):
        return self.app.state.services

    def browser(self) -> Browser:
        http = httpx.Client(
            base_url=self.base_url,
            timeout=600,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        return Browser(self.browsers.enter_context(http))

    def log_in(self, email: str, password: str = PASSWORD) -> Browser:
        browser = self.browser()
        return browser.adopt(browser.post("/api/v1/login", {"email": email, "password": password}))

    def owner(self, name: str = "Team") -> Browser:
        """The owner of a new organisation, logged in there, in no other organisation."""
        email = f"owner{next(_NUMBERS)}-{new_id().hex[-6:]}@example.org"
        assert self.founder is not None
        made = self.founder.post("/api/v1/organisations", {"name": name})
        assert made.status_code == 201, made.text
        login = self.log_in(self.founder.session["user"]["email"])
        login.adopt(
            login.post("/api/v1/session/organisation", {"organisation_id": made.json()["id"]})
        )
        return self.join(login, email, "owner")

    def join(self, inviter: Browser, email: str, role: str) -> Browser:
        invited = inviter.post("/api/v1/invitations", {"email": email, "role": role})
        assert invited.status_code == 201, invited.text
        token = invited.json()["link"].rpartition("/")[2]
        browser = self.browser()
        return browser.adopt(
            browser.post("/api/v1/invitations/accept", {"token": token, "password": PASSWORD})
        )

    def member(self, owner: Browser, role: str) -> Browser:
        return self.join(owner, f"{role}{next(_NUMBERS)}@example.org", role)

    def introspect(self, key: str) -> dict:
        answer = httpx.post(
            f"{self.base_url}/internal/introspect", json={"key": key}, headers=INTERNAL, timeout=600
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def internal(self, path: str, **params: object) -> dict:
        answer = httpx.get(
            f"{self.base_url}/internal/{path}", params=params, headers=INTERNAL, timeout=600
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextlib.contextmanager
def running_hub(database_url: str, **more: object) -> Iterator[Hub]:
    clock = FixedClock()
    with pytest.MonkeyPatch.context() as patch:  # hundreds of people log in
        patch.setattr(passwords, "MEMORY_KIB", 64)
        patch.setattr(passwords, "PASSES", 1)
        app = create_app(settings_for(database_url, **more), clock=clock)
    with serving(app) as base_url:
        wait_until(lambda: is_ready(base_url))
        hub = Hub(base_url, app, clock)
        with hub.browsers:
            yield hub


@pytest.fixture(scope="module")
def hub(server_url: str) -> Iterator[Hub]:
    """A service of this module whose first owner has set it up; its clock is the module's."""
    with fresh_database(server_url, "ubs_hub") as url, set_up_hub(url) as running:
        yield running


@contextlib.contextmanager
def set_up_hub(url: str, **more: object) -> Iterator[Hub]:
    """A service on an empty database whose first owner has set it up."""
    with (
        _migrated(url),
        running_hub(url, setup_token=SETUP_TOKEN, organisations_per_user_max=500, **more) as hub,
    ):
        founder = hub.browser()
        founder.adopt(
            founder.post(
                "/api/v1/setup",
                {
                    "token": SETUP_TOKEN,
                    "email": "founder@example.org",
                    "password": PASSWORD,
                    "organisation": "Founders",
                },
            )
        )
        hub.founder = founder
        yield hub


@contextlib.contextmanager
def founded_hub(server_url: str, **more: object) -> Iterator[Hub]:
    """A service on a database of its own, set up; its clock is the caller's."""
    with fresh_database(server_url, "ubs_hub") as url, set_up_hub(url, **more) as running:
        yield running


@contextlib.contextmanager
def _migrated(url: str) -> Iterator[None]:
    migrate.upgrade(url)
    yield
