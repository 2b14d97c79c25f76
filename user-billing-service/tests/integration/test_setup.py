"""The first start: the set-up link, the bootstrap variables, replicas that start together."""

import threading

import pytest
import structlog
from conftest import PASSWORD, SETUP_TOKEN, FixedClock, running_hub, settings_for
from sqlalchemy import text

from user_billing import operate
from user_billing.app import create_app, wire
from user_billing.errors import BadInput
from user_billing.keys.format import new_api_key
from user_billing.setup.service import Bootstrap

FORM = {"email": "owner@example.org", "password": PASSWORD, "organisation": "Acme"}


def set_up(hub, token=SETUP_TOKEN, **more):
    return hub.browser().post("/api/v1/setup", {"token": token, **FORM, **more})


def counts(database_url):
    services, _ = wire(settings_for(database_url), FixedClock(), Bootstrap())
    tables = ("organisation", "user_account", "membership", "api_key", "signing_key")
    with services.database.engine.connect() as connection:
        found = {
            name: connection.execute(text(f"SELECT count(*) FROM billing.{name}")).scalar_one()
            for name in tables
        }
    services.database.engine.dispose()
    return found


def test_the_link_makes_the_owner_and_is_spent(fresh_url):
    """Needed; made; not needed; the same link a second time is refused, a wrong one always."""
    with running_hub(fresh_url, setup_token=SETUP_TOKEN) as hub:
        assert hub.browser().get("/api/v1/setup").json() == {"needed": True}
        assert hub.internal("home-organisation") == {"tenant": None}
        assert set_up(hub, token="x" * 43).status_code == 401
        made = set_up(hub)
        assert made.status_code == 201
        assert made.json()["role"] == "owner"
        assert made.json()["organisation"]["slug"] == "acme"
        assert hub.browser().get("/api/v1/setup").json() == {"needed": False}
        assert hub.internal("home-organisation")["tenant"] == made.json()["organisation"]["id"]
        again = set_up(hub, email="second@example.org")
        assert again.status_code == 409
        assert set_up(hub, token="x" * 43).status_code == 401
    assert counts(fresh_url)["user_account"] == 1


def test_two_people_with_one_link_make_one_owner(fresh_url):
    """The link is single use under concurrency too: one 201, the others 409."""
    with running_hub(fresh_url, setup_token=SETUP_TOKEN) as hub:
        start, statuses = threading.Barrier(6), []

        def race(n):
            start.wait()
            statuses.append(set_up(hub, email=f"p{n}@example.org").status_code)

        threads = [threading.Thread(target=race, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [201] + [409] * 5
    assert counts(fresh_url) == {
        "organisation": 1, "user_account": 1, "membership": 1, "api_key": 0, "signing_key": 2,
    }  # fmt: skip


def test_organisations_made_at_once_do_not_pass_their_bound(fresh_url):
    """Twelve requests at one moment end with as many organisations as one after another."""
    with running_hub(fresh_url, setup_token=SETUP_TOKEN, organisations_per_user_max=3) as hub:
        owner = hub.browser()
        owner.adopt(owner.post("/api/v1/setup", {"token": SETUP_TOKEN, **FORM}))
        start, statuses = threading.Barrier(12), []

        def race(n):
            start.wait()
            statuses.append(owner.post("/api/v1/organisations", {"name": f"O{n}"}).status_code)

        threads = [threading.Thread(target=race, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [201] * 2 + [400] * 10
    assert counts(fresh_url)["organisation"] == 3


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"password": "short"}, "15 characters"),
        ({"password": "owner@example.org"}, "address"),
        ({"email": "nobody"}, "e-mail"),
        ({"organisation": "  "}, "organisation"),
    ],
)
def test_a_bad_form_does_not_spend_the_link(fresh_url, more, reason):
    """A refused form says which rule it breaks, and the link works afterwards."""
    with running_hub(fresh_url, setup_token=SETUP_TOKEN) as hub:
        refused = set_up(hub, **more)
        assert refused.status_code == 400
        assert reason in refused.json()["error"]
        assert PASSWORD not in refused.text
        assert set_up(hub).status_code == 201


def test_a_made_link_is_logged_once_and_can_be_shown_again(fresh_url, capsys):
    """Without UBS_SETUP_TOKEN the first start logs the link, the second does not; the operator's
    command shows it as long as it is needed, and it works.
    """
    with structlog.testing.capture_logs() as first, running_hub(fresh_url) as hub:
        links = [line["url"] for line in first if line["event"] == "set_up_link"]
        assert len(links) == 1
        assert links[0].startswith("http://localhost:8080/#/setup/")
    with structlog.testing.capture_logs() as second, running_hub(fresh_url) as hub:
        assert not [line for line in second if line["event"] == "set_up_link"]
        assert operate.run(settings_for(fresh_url), "setup-link", None) == links[0]
        assert set_up(hub, token=links[0].rpartition("/")[2]).status_code == 201
    assert "has its owner" in operate.run(settings_for(fresh_url), "setup-link", None)


def test_a_bootstrap_key_alone_makes_home_and_leaves_the_link(fresh_url):
    """The key works at once with its three scopes; the link then makes the owner of that very
    organisation and names it.
    """
    key = new_api_key()
    with running_hub(fresh_url, bootstrap_api_key=key, setup_token=SETUP_TOKEN) as hub:
        known = hub.introspect(key)
        assert known["active"]
        assert known["scopes"] == ["metrics:write", "metrics:read", "analysis:run"]
        assert hub.internal("home-organisation") == {"tenant": known["tenant"]}
        made = set_up(hub)
        assert made.json()["organisation"] == {
            "id": known["tenant"], "name": "Acme", "slug": "home",
        }  # fmt: skip
        assert hub.services.audit.first_break(hub.services.first_start.home_organisation()) is None


def test_bootstrap_makes_the_owner_and_is_idempotent(fresh_url):
    """E-mail, password and key: everything is there after the first start, nothing more after the
    third, and a revoked key stays revoked.
    """
    key = new_api_key()
    wanted = {
        "bootstrap_api_key": key,
        "bootstrap_email": "Boot@Example.org",
        "bootstrap_password": PASSWORD,
    }
    with running_hub(fresh_url, **wanted) as hub:
        assert hub.browser().get("/api/v1/setup").json() == {"needed": False}
        owner = hub.log_in("boot@example.org")
        assert owner.session["organisation"]["name"] == "Home"
        assert owner.session["role"] == "owner"
        made = owner.get("/api/v1/keys").json()["keys"]
        assert [k["created_by"] for k in made] == ["bootstrap"]
        assert owner.delete(f"/api/v1/keys/{made[0]['id']}").status_code == 204
    before = counts(fresh_url)
    for _ in range(2):
        with running_hub(fresh_url, **wanted) as hub:
            assert hub.introspect(key) == {"active": False, "reason": "revoked"}
    assert counts(fresh_url) == before


def test_replicas_that_start_together_bootstrap_once(fresh_url):
    """Eight replicas' first starts at one moment: one organisation, owner, key; one active and one
    next signing key.
    """
    wanted = Bootstrap(
        api_key=new_api_key(), email="boot@example.org", password=PASSWORD, organisation="Home"
    )
    start, failures = threading.Barrier(8), []

    def replica():
        services, background = wire(settings_for(fresh_url), FixedClock(), wanted)
        try:
            start.wait()
            background.first_steps()
        except Exception as exc:  # noqa: BLE001 - every failure is the test's
            failures.append(exc)
        finally:
            services.database.engine.dispose()

    threads = [threading.Thread(target=replica) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counts(fresh_url) == {
        "organisation": 1, "user_account": 1, "membership": 1, "api_key": 1, "signing_key": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"bootstrap_api_key": "coh_live_nonsense"}, "UBS_BOOTSTRAP_API_KEY"),
        ({"bootstrap_email": "a@b", "bootstrap_password": "short"}, "password"),
        ({"bootstrap_email": "nobody", "bootstrap_password": PASSWORD}, "email"),
    ],
)
def test_a_bootstrap_that_cannot_work_stops_the_start(more, named):
    """A malformed key, a weak password or no address: the start says which, before any database."""
    with pytest.raises(BadInput, match=named):
        create_app(settings_for("postgresql://nobody@127.0.0.1:1/none", **more))
