"""Without Postgres: starts, says so, recovers."""

import contextlib

import httpx
from conftest import INTERNAL, FixedClock, Hub, serving, settings_for, wait_until
from embedded_postgres import execute

from user_billing import migrate
from user_billing.app import create_app
from user_billing.identifiers import new_id
from user_billing.keys.format import new_api_key


def ready(hub):
    return httpx.get(f"{hub.base_url}/ready", timeout=600)


def test_a_service_without_its_database_stays_up_and_recovers(server_url):
    """No database: healthy, not ready and why, 503 for questions. No schema: the same, and what to
    run. Then all is well; a lost database is told and forgotten in the same way.
    """
    name = f"ubs_later_{new_id().hex[-8:]}"
    base, _, query = server_url.partition("?")
    url = f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    key = new_api_key()
    app = create_app(settings_for(url, bootstrap_api_key=key), clock=FixedClock())
    try:
        with serving(app) as base_url:
            hub = Hub(base_url, app, FixedClock())
            wait_until(lambda: answers(base_url))
            waiting = ready(hub)
            assert waiting.status_code == 503
            assert name in waiting.json()["checks"]["postgres"]["detail"]
            assert ask(hub, key).status_code == 503
            assert ask(hub, key).json()["status"] == 503

            execute(server_url, f'CREATE DATABASE "{name}"')
            wait_until(lambda: "user_billing.migrate" in ready(hub).text)
            assert ready(hub).status_code == 503
            refused = httpx.get(f"{base_url}/api/v1/setup", timeout=600)
            assert refused.status_code == 503
            assert refused.json()["errorType"] == "unavailable"

            migrate.upgrade(url)
            wait_until(lambda: ready(hub).status_code == 200)
            assert hub.introspect(key)["active"]

            lose(server_url, name)
            assert ready(hub).status_code == 503
            assert ask(hub, key).status_code == 503
            assert httpx.get(f"{base_url}/health", timeout=600).status_code == 200
            assert httpx.get(f"{base_url}/.well-known/jwks.json", timeout=600).status_code == 200

            execute(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            wait_until(lambda: ready(hub).status_code == 200)
            assert hub.introspect(key)["active"]
    finally:
        execute(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_a_restarted_server_costs_no_failed_request(server_url, fresh_url):
    """Connections that died in the pool are noticed before they are lent."""
    key = new_api_key()
    app = create_app(settings_for(fresh_url, bootstrap_api_key=key), clock=FixedClock())
    with serving(app) as base_url:
        hub = Hub(base_url, app, FixedClock())
        wait_until(lambda: answers(base_url) and ready(hub).status_code == 200)
        name = execute(fresh_url, "SELECT current_database()")
        for _ in range(3):
            assert hub.introspect(key)["active"]
            terminate(server_url, name)


def answers(base_url):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{base_url}/health", timeout=600).status_code == 200
    return False


def ask(hub, key):
    url = f"{hub.base_url}/internal/introspect"
    return httpx.post(url, json={"key": key}, headers=INTERNAL, timeout=600)


def terminate(server_url, name):
    execute(
        server_url,
        f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'",
    )


def lose(server_url, name):
    execute(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    terminate(server_url, name)
