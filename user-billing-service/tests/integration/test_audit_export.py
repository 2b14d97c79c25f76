"""An audit log as a file: all of it, in bounded memory, safe in a spreadsheet, proved later."""

import csv
import io
import json
from dataclasses import replace

import httpx
import pytest
from embedded_postgres import execute

from user_billing import operate
from user_billing.audit import chain
from user_billing.audit import export as files
from user_billing.audit import service as audit_service


@pytest.fixture(scope="module")
def owner(hub):
    owner = hub.owner("=HYPERLINK(1)")
    for number in range(12):
        owner.new_key("metrics:read", name=f"@SUM({number})")
        hub.clock.advance(seconds=10)
    return owner


def export(owner, **params):
    answer = owner.get("/api/v1/audit/export", params=params)
    assert answer.status_code == 200, answer.text
    return answer


def verify(hub, **given):
    return operate.run(hub.services.settings, "verify-audit", **given)


def saved(tmp_path, text):
    path = tmp_path / "audit.json"
    path.write_text(text)
    return path


def test_an_export_is_the_chain(hub, owner, tmp_path, monkeypatch):
    """Every event, oldest first, read a page at a time; it proves itself, and the log."""
    monkeypatch.setattr(audit_service, "PAGE_MAX", 5)
    answer = export(owner)
    events = answer.json()
    assert answer.headers["content-disposition"].endswith('"audit.json"')
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert len(events) > 12
    url = hub.services.settings.database_url.get_secret_value()
    query = "SELECT encode(hash, 'hex') FROM billing.audit_head WHERE org_id"
    last = execute(url, f"{query} = '{owner.org}'")
    assert events[-1]["hash"] == last
    said = verify(hub, file=saved(tmp_path, answer.text))
    assert said == f"{len(events)} events, as the audit log has them"


def test_a_range_of_dates_is_an_unbroken_part(hub, owner, tmp_path):
    """From the first to the last event inside; it proves itself too; an empty one is no fault."""
    events = export(owner).json()
    start, end = events[-8]["at"], events[-3]["at"]
    part = export(owner, start=start, end=end)
    assert [e["seq"] for e in part.json()] == [e["seq"] for e in events[-8:-3]]
    assert "5 events" in verify(hub, file=saved(tmp_path, part.text))
    nothing = export(owner, start="2001-01-01T00:00:00Z", end="2001-01-02T00:00:00Z")
    assert nothing.json() == []
    assert "0 events" in verify(hub, file=saved(tmp_path, nothing.text))
    assert owner.get("/api/v1/audit/export?start=yesterday").status_code == 400
    assert owner.get("/api/v1/audit/export?format=xml").status_code == 400


@pytest.mark.parametrize(
    "tamper",
    [
        lambda events: events[4].update(actor="nobody"),
        lambda events: events[4]["detail"].update(name="another"),
        lambda events: events.pop(4),
        lambda events: events.insert(2, events.pop(4)),
        lambda events: events[-1].update(hash="00" * 32),
        lambda events: events[0].update(previous_hash="11" * 32),
    ],
    ids=["actor", "detail", "removed", "moved", "hash", "beginning"],
)
def test_a_tampered_file_is_noticed(hub, owner, tmp_path, tamper):
    """Whatever was changed in it, the file is said not to be the log."""
    events = export(owner).json()
    tamper(events)
    with pytest.raises(SystemExit, match="is not the audit log"):
        verify(hub, file=saved(tmp_path, json.dumps(events)))


def test_a_file_of_one_s_own_making_is_noticed(hub, owner, tmp_path):
    """A chain that is whole in itself but never was the log's."""
    events = files.of_json(export(owner).text)
    forged, before = [], chain.GENESIS
    for event in events:
        made = chain.seal(replace(event, actor="user:another", previous_hash=before))
        forged.append(made)
        before = made.hash
    with pytest.raises(SystemExit, match="is not the audit log"):
        verify(hub, file=saved(tmp_path, "".join(files.to_json(forged))))


def test_other_files_are_refused_in_words(hub, tmp_path):
    """No JSON, other JSON, no file at all."""
    for text in ("seq,at\n", '{"a": 1}', "[1]"):
        with pytest.raises(Exception, match="no exported audit log"):
            verify(hub, file=saved(tmp_path, text))
    with pytest.raises(SystemExit, match="cannot be read"):
        verify(hub, file=tmp_path / "nothing.json")


def test_csv_is_text_in_a_spreadsheet(owner):
    """The same events; no cell begins a formula; a name that would is in the detail's JSON."""
    answer = export(owner, format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    events = export(owner).json()
    assert [int(row["seq"]) for row in rows] == [event["seq"] for event in events]
    assert [json.loads(row["detail"]) for row in rows] == [e["detail"] for e in events]
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_request_ids_cannot_be_formulas(hub, owner):
    """What a caller brings is quoted when a spreadsheet would run it."""
    (event,) = files.of_json(json.dumps(export(owner).json()[:1]))
    evil = replace(event, actor="=cmd|' /C calc'!A0")
    assert "'=cmd|" in "".join(files.to_csv([evil]))


def test_another_organisation_exports_its_own(hub, owner):
    """Nothing of one is in the other's file, and a viewer may read as they may on the page."""
    other = hub.owner("Other")
    text = export(other).text
    assert owner.org not in text
    assert other.org in text
    key = other.new_key("metrics:read")
    url = f"{hub.base_url}/api/v1/audit/export"
    assert httpx.get(url, headers={"X-API-Key": key["key"]}, timeout=600).status_code == 403


def test_all_chains_are_verified(hub, owner):
    """Without an organisation every one is; the one that is broken is named."""
    assert "audit chains are whole" in verify(hub)
    url = hub.services.settings.database_url.get_secret_value()
    execute(
        url,
        "ALTER TABLE billing.audit_event DISABLE TRIGGER USER;"
        f" UPDATE billing.audit_event SET actor = 'x' WHERE org_id = '{owner.org}' AND seq = 7;"
        " ALTER TABLE billing.audit_event ENABLE TRIGGER USER; SELECT 1",
    )
    with pytest.raises(SystemExit, match=f"{owner.org}: the audit chain breaks at event 7"):
        verify(hub)
