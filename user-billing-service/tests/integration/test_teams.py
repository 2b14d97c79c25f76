"""Teams, rules in versions, hours by team, and costs, over HTTP and real Postgres."""

from datetime import timedelta

import httpx
import pytest
from conftest import INTERNAL
from embedded_postgres import PostgresError, execute


def put(browser, path, body):
    return browser.http.put(path, json=body, headers=browser.headers())


def internal(hub, method, body=None):
    url = f"{hub.base_url}/internal/attribution"
    answer = httpx.request(method, url, json=body, headers=INTERNAL, timeout=600)
    assert answer.status_code == 200, answer.text
    return answer.json()


def due_of(hub, org):
    """What dis is asked of this organisation; that of others is split as nobody's on the way."""
    while due := internal(hub, "GET"):
        if due["tenant"] == org:
            return due
        split(hub, due, {"": (1, 1)})
    return None


def split(hub, due, shares):
    parts = {team: {"samples": n, "series": m} for team, (n, m) in shares.items()}
    hours = [{**hour, "shares": parts} for hour in due["hours"]]
    return internal(
        hub, "PUT", {"tenant": due["tenant"], "version": due["version"], "hours": hours}
    )


def hour_of(hub, back):
    return (hub.clock.now() - timedelta(hours=back)).replace(minute=0, second=0, microsecond=0)


def report(hub, org, back, samples, revision=1):
    report = {
        "tenant": org, "hour": hour_of(hub, back).isoformat(), "revision": revision,
        "meters": {"samples": {"quantity": str(samples)}, "active_series": {"minutes": [10] * 60}},
    }  # fmt: skip
    body = {"source": "dis", "reports": [report]}
    answer = httpx.post(f"{hub.base_url}/internal/usage", json=body, headers=INTERNAL, timeout=600)
    assert answer.json()["outcomes"] == ["stored"]


def by_team(hub, owner, meter="samples"):
    params = {
        "start": hour_of(hub, 48).isoformat(), "end": hub.clock.now().isoformat(), "step": "month",
    }  # fmt: skip
    answer = owner.get("/api/v1/usage/by-team", params=params)
    assert answer.status_code == 200, answer.text
    sums = {}
    for one in answer.json()["usage"]:
        if one["meter"] == meter:
            sums[one["team"]] = sums.get(one["team"], 0) + int(float(one["quantity"]))
    return sums


@pytest.fixture
def two_teams(hub):
    """An owner with teams red and blue, and usage of three hours that are over."""
    owner = hub.owner("With teams")
    teams = [owner.post("/api/v1/teams", {"name": name}).json()["id"] for name in ("red", "blue")]
    for back in (2, 3, 4):
        report(hub, owner.org, back, 101)
    return owner, *teams


def rules(*pairs):
    return {"rules": [{"team": team, "selector": selector} for team, selector in pairs]}


def test_a_changed_rule_moves_usage_that_is_not_invoiced(hub, two_teams):
    """Without rules all is nobody's; each version splits the same hours anew, whole."""
    owner, red, blue = two_teams
    assert by_team(hub, owner) == {None: 303}
    assert put(owner, "/api/v1/attribution", rules((red, "up"))).json() == {"version": 1}
    first = due_of(hub, owner.org)
    assert (first["version"], len(first["hours"])) == (1, 3)
    split(hub, first, {red: (1, 1), "": (1, 3)})
    assert due_of(hub, owner.org) is None
    assert by_team(hub, owner) == {red: 150, None: 153}  # of 101, the odd one is nobody's
    same = put(owner, "/api/v1/attribution", rules((red, "up")))
    assert same.json() == {"version": 1}
    assert put(owner, "/api/v1/attribution", rules((blue, "up"))).json() == {"version": 2}
    split(hub, due_of(hub, owner.org), {blue: (3, 1), "": (1, 1)})
    assert by_team(hub, owner)[blue] == 3 * 76
    assert sum(by_team(hub, owner).values()) == 303
    split(hub, first, {red: (1, 1)})  # a late answer by the old rules
    assert blue in by_team(hub, owner)


def test_an_organisation_that_is_never_split_holds_up_no_other(hub, two_teams):
    """Those that are due take turns, whoever comes first by id."""
    owner, red, _ = two_teams
    other = hub.owner("Also with teams")
    team = other.post("/api/v1/teams", {"name": "green"}).json()["id"]
    report(hub, other.org, 2, 7)
    for one, of in ((owner, red), (other, team)):
        assert put(one, "/api/v1/attribution", rules((of, "up"))).status_code == 200
    turns = {internal(hub, "GET")["tenant"] for _ in range(32)}
    assert {owner.org, other.org} <= turns


def test_an_hour_that_changed_is_split_again(hub, two_teams):
    owner, red, _ = two_teams
    put(owner, "/api/v1/attribution", rules((red, "up")))
    split(hub, due_of(hub, owner.org), {red: (1, 1)})
    report(hub, owner.org, 3, 500, revision=2)
    again = due_of(hub, owner.org)
    assert [hour["revision"] for hour in again["hours"]] == [2]
    assert by_team(hub, owner)[red] == 702  # the total follows at once, by the old shares


def test_a_rule_that_cannot_be_read_is_shown(hub, two_teams):
    """Dis says which with its split; the rule set in force shows it."""
    owner, red, _ = two_teams
    put(owner, "/api/v1/attribution", rules((red, "{oops")))
    due = due_of(hub, owner.org)
    hours = [{**hour, "shares": {}} for hour in due["hours"]]
    faults = ["rules[0].selector: no matcher"]
    body = {"tenant": owner.org, "version": 1, "hours": hours, "faults": faults}
    internal(hub, "PUT", body)
    assert owner.get("/api/v1/attribution").json()["versions"][0]["faults"] == faults


def test_a_split_of_many_teams_is_taken(hub):
    """A day's hours over 100 teams are one request."""
    owner = hub.owner("Many teams")
    teams = [owner.post("/api/v1/teams", {"name": f"t{n}"}).json()["id"] for n in range(100)]
    for back in range(2, 26):
        report(hub, owner.org, back, 101)
    put(owner, "/api/v1/attribution", rules(*((team, "up") for team in teams)))
    split(hub, due_of(hub, owner.org), dict.fromkeys(teams, (123_456, 1_234)))
    assert due_of(hub, owner.org) is None


def test_the_running_hour_is_not_split(hub, two_teams):
    owner, red, _ = two_teams
    put(owner, "/api/v1/attribution", rules((red, "up")))
    report(hub, owner.org, 0, 7)
    assert len(due_of(hub, owner.org)["hours"]) == 3


def test_rules_name_living_teams_and_teams_have_names_of_their_own(hub, two_teams):
    owner, red, blue = two_teams
    assert owner.post("/api/v1/teams", {"name": "RED"}).status_code == 409
    assert owner.delete(f"/api/v1/teams/{red}").status_code == 204
    assert owner.delete(f"/api/v1/teams/{red}").status_code == 404
    refused = put(owner, "/api/v1/attribution", rules((blue, "up"), (red, "up")))
    assert refused.status_code == 400
    assert "rules[1].team" in refused.text
    assert owner.post("/api/v1/teams", {"name": "red"}).status_code == 201
    names = [
        (one["name"], bool(one["archived_at"]))
        for one in owner.get("/api/v1/teams").json()["teams"]
    ]
    assert sorted(names) == [("blue", False), ("red", False), ("red", True)]


def test_a_cost_follows_usage_until_it_is_closed(hub, two_teams):
    """Split to the cent, exported, closed; then not even Postgres lets it change."""
    owner, red, _blue = two_teams
    put(owner, "/api/v1/attribution", rules((red, "up")))
    body = {
        "name": "Cloud bill", "start": hour_of(hub, 48).isoformat(),
        "end": hour_of(hub, 1).isoformat(), "amount": "100.01", "currency": "EUR",
        "weights": {"samples": "1"},
    }  # fmt: skip
    made = owner.post("/api/v1/costs", body)
    assert made.status_code == 201, made.text
    path = f"/api/v1/costs/{made.json()['id']}"
    assert [s["amount"] for s in owner.get(path).json()["shares"]] == ["0.00", "0.00", "100.01"]
    split(hub, due_of(hub, owner.org), {red: (2, 1), "": (1, 1)})
    closed = owner.post(f"{path}/close")
    assert closed.status_code == 200, closed.text
    shares = {share["name"]: share["amount"] for share in closed.json()["shares"]}
    assert shares == {"blue": "0.00", "red": "66.34", "unattributed": "33.67"}
    report(hub, owner.org, 3, 10**6, revision=2)
    assert owner.get(path).json()["shares"] == closed.json()["shares"]
    assert "66.34" in owner.get(f"{path}/export").text
    assert owner.get(f"{path}/export?format=focus").text.startswith("BilledCost,")
    assert owner.delete(path).status_code == 404
    url = str(hub.services.settings.database_url.get_secret_value())
    for statement in (
        "UPDATE billing.cost_pool SET amount = 1 WHERE closed_at IS NOT NULL",
        "TRUNCATE billing.cost_pool",
    ):
        with pytest.raises(PostgresError, match="never changes"):
            execute(url, statement)


def test_a_statement_of_a_team_has_its_usage_and_its_shares_of_costs(hub, two_teams):
    """What by-team usage and the cost's split say, as a document; another's team is not there."""
    owner, red, blue = two_teams
    put(owner, "/api/v1/attribution", rules((red, "up")))
    split(hub, due_of(hub, owner.org), {red: (2, 1), "": (1, 1)})
    times = {"start": hour_of(hub, 48).isoformat(), "end": hour_of(hub, 1).isoformat()}
    body = {"name": "Cloud bill", **times, "amount": "100.01", "currency": "EUR"}
    made = owner.post("/api/v1/costs", {**body, "weights": {"samples": "1"}}).json()["id"]
    share = {s["name"]: s["amount"] for s in owner.get(f"/api/v1/costs/{made}").json()["shares"]}

    def lines(team):
        answer = owner.get(f"/api/v1/teams/{team}/statement", params=times)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document["currency"] is None
        return {line["description"]: (line["quantity"], line["unit"]) for line in document["lines"]}

    ours = lines(red)
    assert ours["samples_ingested"] == (str(by_team(hub, owner)[red]), "samples")
    assert float(ours["Share of Cloud bill"][0]) == float(share["red"])
    assert ours["Share of Cloud bill"][1] == "EUR"
    assert lines(blue) == {"Share of Cloud bill": ("0", "EUR")}
    pages = owner.get(f"/api/v1/teams/{red}/statement", params={**times, "as_pdf": "true"})
    assert pages.content.startswith(b"%PDF")
    assert owner.get(f"/api/v1/teams/{made}/statement", params=times).status_code == 404
    backwards = {"start": times["end"], "end": times["start"]}
    assert owner.get(f"/api/v1/teams/{red}/statement", params=backwards).status_code == 400


def test_the_operator_splits_a_cost_over_organisations(hub, two_teams):
    owner, _red, _blue = two_teams
    operator = hub.log_in("founder@example.org")
    body = {
        "name": "Cluster", "start": hour_of(hub, 48).isoformat(),
        "end": hour_of(hub, 1).isoformat(),
        "amount": "100000000", "currency": "JPY", "weights": {"samples": "1"},
    }  # fmt: skip
    assert owner.post("/api/v1/operator/costs", body).status_code == 403
    made = operator.post("/api/v1/operator/costs", body).json()["id"]
    shares = operator.get(f"/api/v1/operator/costs/{made}").json()["shares"]
    assert sum(int(share["amount"]) for share in shares) == 100_000_000
    assert owner.org in {share["id"] for share in shares if int(share["amount"]) > 0}
    assert operator.get(f"/api/v1/costs/{made}").status_code == 404


def test_a_team_that_was_archived_before_bears_no_equal_part(hub, two_teams):
    """Equal parts are over the teams that there were in the cost's time, of 400 days at most."""
    owner, red, blue = two_teams
    assert owner.delete(f"/api/v1/teams/{red}").status_code == 204
    start = hub.clock.now() + timedelta(hours=1)
    body = {"name": "Rent", "currency": "EUR", "amount": "10", "start": start.isoformat()}
    for days, status in ((401, 400), (1, 201)):
        end = (start + timedelta(days=days)).isoformat()
        made = owner.post("/api/v1/costs", {**body, "end": end})
        assert made.status_code == status, made.text
    shares = owner.get(f"/api/v1/costs/{made.json()['id']}").json()["shares"]
    assert [(share["id"], share["amount"]) for share in shares] == [(blue, "10.00")]
