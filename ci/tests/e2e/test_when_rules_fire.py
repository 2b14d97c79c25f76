"""Rules on the running platform: from a POST to a series that fires, and to its end."""

import time

import httpx
from native_platform import eventually
from people import OWNER, PASSWORD

GROUP = """
name: e2e
interval: 5s
rules:
- record: job:e2e_ruled:sum
  expr: sum by (job) (e2e_ruled)
- alert: E2eRuled
  expr: job:e2e_ruled:sum > 5
"""
FIRING = 'ALERTS{alertname="E2eRuled",alertstate="firing"}'


def admin_key(platform):
    """A key of the owner's that may change rules."""
    with httpx.Client(
        base_url=f"{platform.url}/api/ubs/api/v1", headers={"Origin": platform.url}, timeout=600
    ) as owner:
        person = {"email": OWNER, "password": PASSWORD}
        if owner.get("/setup").json()["needed"]:
            token = platform.state["setup_link"].rpartition("/")[2]
            form = person | {"token": token, "organisation": "Otter Works"}
            assert owner.post("/setup", json=form).status_code == 201
        else:
            assert owner.post("/login", json=person).status_code == 200
        csrf = {"X-CSRF-Token": owner.get("/session").json()["csrf_token"]}
        wanted = {"name": "rules", "scopes": ["metrics:read", "admin"], "expires_in_days": 1}
        answer = owner.post("/keys", json=wanted, headers=csrf)
        assert answer.status_code == 201, answer.text
        return answer.json()["key"]


def test_a_rule_records_and_an_alert_fires_and_ends(platform):
    """What a group records is a series, the alert on it fires; both end with the group."""
    headers = {"Authorization": f"Bearer {admin_key(platform)}"}
    now_ms = time.time_ns() // 1_000_000
    assert platform.write({"__name__": "e2e_ruled", "job": "e2e"}, [(now_ms, 7.0)]) == 204
    das = f"{platform.url}/api/data-api-service"
    posted = httpx.post(f"{das}/config/v1/rules/e2e", content=GROUP, headers=headers, timeout=600)
    assert posted.status_code == 202, posted.text
    eventually("the alert fires", lambda: platform.query(FIRING) or None)
    (recorded,) = platform.query("job:e2e_ruled:sum")
    assert recorded["value"][1] == "7"
    (group,) = httpx.get(f"{das}/api/v1/rules", headers=headers, timeout=600).json()["data"][
        "groups"
    ]
    assert [(rule["health"], rule.get("lastError")) for rule in group["rules"]] == 2 * [
        ("ok", None)
    ]
    gone = httpx.delete(f"{das}/config/v1/rules/e2e", headers=headers, timeout=600)
    assert gone.status_code == 202
    eventually("its series end", lambda: not platform.query(FIRING) or None)
    assert platform.query("job:e2e_ruled:sum") == []


def test_a_recording_rule_is_given_a_history(platform):
    """Samples of ten days ago are written where the rule would have written them."""
    headers = {"Authorization": f"Bearer {admin_key(platform)}"}
    start_s = time.time_ns() // 60_000_000_000 * 60 - 10 * 86_400
    samples = [((start_s + n * 60) * 1000, float(n)) for n in range(1, 11)]
    assert platform.write({"__name__": "e2e_past", "job": "e2e"}, samples) == 204
    backfills = f"{platform.url}/api/data-api-service/api/v1/rules/backfills"
    rule = "record: job:e2e_past:sum\nexpr: sum by (job) (e2e_past)\n"
    form = {"rule": rule, "start": start_s, "end": start_s + 1200, "step": "1m"}
    started = httpx.post(backfills, data=form, headers=headers, timeout=600)
    assert started.status_code == 202, started.text

    def over():
        (job,) = httpx.get(backfills, headers=headers, timeout=600).json()["data"]
        return job if job["status"] != "running" else None

    job = eventually("the history is written", over)
    assert (job["status"], job["progress"], job["error"]) == ("done", 1.0, "")
    (recorded,) = platform.query("job:e2e_past:sum", start_s + 300)
    assert recorded["value"][1] == "5"
    assert platform.query("job:e2e_past:sum", start_s + 1200) == []
