"""Keys that rotate, that are bound to networks and rates, and that service accounts own."""

import httpx
import pytest


@pytest.fixture(scope="module")
def owner(hub):
    return hub.owner("Key care")


def shown(owner, key_id):
    return next(k for k in owner.get("/api/v1/keys").json()["keys"] if k["id"] == key_id)


def published(hub, key_id):
    """How often services were told to ask for the key again."""
    return sum(r["ref"] == key_id for r in hub.internal("revocations", after=0)["revocations"])


def call(hub, key, address=None):
    headers = {"X-API-Key": key}
    if address is not None:
        headers["X-Forwarded-For"] = address
    return httpx.get(f"{hub.base_url}/api/v1/keys", headers=headers, timeout=600)


def test_a_rotated_key_lives_on_for_the_overlap(hub, owner):
    """Both are valid until its end, then the old one is dead; services are told at once, so that
    none goes on with what it remembers. The new key may do the same.
    """
    limits = {"networks": ["127.0.0.1/32"], "requests_per_s": 50}
    old = owner.new_key("metrics:write", "metrics:read", expires_in_days=90, **limits)
    hub.clock.advance(days=0.02)
    owner = hub.log_in(owner.session["user"]["email"])
    made = owner.post(f"/api/v1/keys/{old['id']}/rotate", {"overlap_s": 3600})
    assert made.status_code == 201, made.text
    new = made.json()
    assert (new["scopes"], new["name"]) == (old["scopes"], old["name"])
    assert (new["networks"], new["requests_per_s"]) == (["127.0.0.1/32"], 50)
    assert new["expires_at"] > old["expires_at"]
    assert shown(owner, old["id"])["replaced_by"] == new["id"]
    assert published(hub, old["id"]) == 1
    first, second = hub.introspect(old["key"]), hub.introspect(new["key"])
    assert first["active"]
    assert second["active"]
    assert first["expires_at"] is not None
    hub.clock.advance(seconds=3600)
    assert hub.introspect(old["key"]) == {"active": False, "reason": "expired"}
    assert hub.introspect(new["key"])["active"]


def test_a_key_is_replaced_once_and_while_it_lives(hub, owner):
    """A second rotation, one of a revoked key, one of nobody's: refused; no overlap: dead now; a
    rotation never lengthens a life.
    """
    owner = hub.log_in(owner.session["user"]["email"])
    key = owner.new_key("metrics:read")
    path = f"/api/v1/keys/{key['id']}/rotate"
    assert owner.post(path, {"overlap_s": 8 * 86_400}).status_code == 400
    assert owner.post(path, {"overlap_s": 0}).status_code == 201
    assert hub.introspect(key["key"])["active"] is False
    assert owner.post(path, {}).status_code == 409
    revoked = owner.new_key("metrics:read")
    owner.delete(f"/api/v1/keys/{revoked['id']}")
    assert owner.post(f"/api/v1/keys/{revoked['id']}/rotate", {}).status_code == 409
    short = owner.new_key("metrics:read", expires_in_days=1)
    owner.post(f"/api/v1/keys/{short['id']}/rotate", {"overlap_s": 7 * 86_400})
    assert shown(owner, short["id"])["expires_at"] == short["expires_at"]


def test_no_key_rotates_a_stronger_one(hub, owner):
    """A key with `admin` alone neither replaces nor changes what may read metrics."""
    owner = hub.log_in(owner.session["user"]["email"])
    weak, strong = owner.new_key("admin"), owner.new_key("admin", "metrics:read")
    headers = {"X-API-Key": weak["key"]}
    url = f"{hub.base_url}/api/v1/keys/{strong['id']}"
    assert httpx.post(f"{url}/rotate", json={}, headers=headers, timeout=600).status_code == 403
    assert httpx.patch(url, json={"networks": []}, headers=headers, timeout=600).status_code == 403
    own = f"{hub.base_url}/api/v1/keys/{weak['id']}/rotate"
    assert httpx.post(own, json={}, headers=headers, timeout=600).status_code == 201


def test_a_key_works_from_its_networks_only(hub, owner):
    """IPv4, IPv6 and mapped addresses; introspection carries the networks for the services; what a
    client writes itself before the proxy's entry changes nothing.
    """
    owner = hub.log_in(owner.session["user"]["email"])
    networks = ["192.0.2.0/24", "2001:db8::/32"]
    key = owner.new_key("admin", networks=networks)
    assert hub.introspect(key["key"])["networks"] == networks
    for address in ("192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", "203.0.113.1, 192.0.2.7"):
        assert call(hub, key["key"], address).status_code == 200, address
    for address in (None, "192.0.3.7", "nonsense", "192.0.2.7, 203.0.113.1"):
        refused = call(hub, key["key"], address)
        assert refused.status_code == 403, address
    assert "203.0.113.1" in refused.json()["error"]
    for wrong in (["192.0.2.1/24"], ["everywhere"], ["10.0.0.0/8"] * 51):
        body = {"name": "x", "scopes": ["admin"], "networks": wrong}
        assert owner.post("/api/v1/keys", body).status_code == 400


def test_a_bound_key_frees_neither_itself_nor_another(hub, owner):
    """What it makes, and what it takes the networks from, is bound as it is."""
    owner = hub.log_in(owner.session["user"]["email"])
    bound, other = owner.new_key("admin", networks=["127.0.0.0/8"]), owner.new_key("admin")
    headers = {"X-API-Key": bound["key"]}
    body = {"name": "made by a key", "scopes": ["admin"]}
    made = httpx.post(f"{hub.base_url}/api/v1/keys", json=body, headers=headers)
    assert made.json()["networks"] == ["127.0.0.0/8"]
    for key in (bound, other):
        url = f"{hub.base_url}/api/v1/keys/{key['id']}"
        assert (
            httpx.patch(url, json={"networks": ["0.0.0.0/0"]}, headers=headers).status_code == 403
        )
        freed = httpx.patch(url, json={"networks": []}, headers=headers)
        assert freed.json()["networks"] == ["127.0.0.0/8"]


def test_a_key_asks_as_often_as_it_may(hub, owner):
    """A second's worth at once, then 429 with how long to wait; time gives it back."""
    owner = hub.log_in(owner.session["user"]["email"])
    key = owner.new_key("admin", requests_per_s=3)
    assert hub.introspect(key["key"])["requests_per_s"] == 3
    answers = [call(hub, key["key"]) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert answers[3].headers["Retry-After"] == "1"
    hub.clock.advance(seconds=1)
    assert call(hub, key["key"]).status_code == 200


def test_a_key_changes_what_is_given(hub, owner):
    """Name, networks and rate, each by itself; null takes the rate away; the log has the change."""
    owner = hub.log_in(owner.session["user"]["email"])
    key = owner.new_key("metrics:read", networks=["10.0.0.0/8"], requests_per_s=5)
    path = f"/api/v1/keys/{key['id']}"
    assert owner.patch(path, {"name": "agents"}).json()["name"] == "agents"
    changed = owner.patch(path, {"networks": []}).json()
    assert (changed["name"], changed["networks"], changed["requests_per_s"]) == ("agents", [], 5)
    assert owner.patch(path, {"requests_per_s": None}).json()["requests_per_s"] is None
    assert published(hub, key["id"]) == 3
    event = owner.get("/api/v1/audit?limit=1").json()["events"][0]
    assert (event["action"], event["detail"]) == ("key.changed", {"requests_per_s": None})
    assert owner.patch(path, {}).status_code == 400
    assert owner.patch(path, {"requests_per_s": 0}).status_code == 400


def test_keys_of_a_service_account_survive_who_made_them(hub):
    """The maker's own keys end when they leave; the account's go on, until it is disabled, and with
    it whatever its keys made.
    """
    owner = hub.owner("Machines")
    admin = hub.member(owner, "admin")
    made = admin.post(
        "/api/v1/service-accounts", {"name": "deploy", "scopes": ["admin", "metrics:read"]}
    )
    assert made.status_code == 201, made.text
    account = made.json()
    own = admin.new_key("admin", "metrics:read")
    key = admin.new_key("admin", "metrics:read", service_account_id=account["id"])
    assert key["created_by"] == f"service_account:{account['id']}"
    grandchild = httpx.post(
        f"{hub.base_url}/api/v1/keys", json={"name": "made", "scopes": ["metrics:read"]},
        headers={"X-API-Key": key["key"]}, timeout=600
    ).json()  # fmt: skip
    owner.delete(f"/api/v1/members/{admin.user_id}")
    assert hub.introspect(own["key"])["active"] is False
    assert hub.introspect(key["key"])["active"]
    assert hub.introspect(grandchild["key"])["active"]
    rotated = owner.post(f"/api/v1/keys/{key['id']}/rotate", {"overlap_s": 60}).json()
    assert rotated["created_by"] == key["created_by"]
    path = f"/api/v1/service-accounts/{account['id']}"
    assert owner.delete(path).status_code == 204
    for dead in (key, rotated, grandchild):
        assert hub.introspect(dead["key"])["active"] is False
        assert published(hub, dead["id"]) >= 1
    assert owner.delete(path).status_code == 204
    listed = owner.get("/api/v1/service-accounts").json()["service_accounts"]
    assert [one["disabled_at"] is not None for one in listed] == [True]
    body = {"name": "late", "scopes": ["admin"], "service_account_id": account["id"]}
    assert owner.post("/api/v1/keys", body).status_code == 409


def test_a_service_account_is_no_wider_than_its_maker(hub):
    """Neither the account nor its keys have a scope that their maker lacks; what ends makes none;
    another organisation's is not found.
    """
    owner, other = hub.owner("Bounds"), hub.owner("Elsewhere")
    body = {"name": "narrow", "scopes": ["metrics:write"]}
    account = owner.post("/api/v1/service-accounts", body).json()
    wide = {"name": "k", "scopes": ["admin"], "service_account_id": account["id"]}
    assert owner.post("/api/v1/keys", wide).status_code == 403
    assert other.post("/api/v1/keys", wide).status_code == 404
    assert other.delete(f"/api/v1/service-accounts/{account['id']}").status_code == 404
    viewer = hub.member(owner, "viewer")
    assert viewer.post("/api/v1/service-accounts", body).status_code == 403
    url = f"{hub.base_url}/api/v1/service-accounts"
    for key, expected in (
        (owner.new_key("admin"), 403),
        (owner.new_key("admin", "metrics:write", expires_in_days=1), 403),
        (owner.new_key("admin", "metrics:write"), 201),
    ):
        answer = httpx.post(url, json=body, headers={"X-API-Key": key["key"]}, timeout=600)
        assert answer.status_code == expected, answer.text
