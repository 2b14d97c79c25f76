"""Advisories about pinned packages: each is a fault unless a waiver covers it; silence is said."""

import json
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ci.lint import NotChecked
from ci.lint import advisories as faults
from ci.scan import Waiver

TODAY = date(2026, 11, 29)
LOCKS = {"x/requirements.txt": "anyio==4.0 \\\n    --hash=sha256:aa\nuvicorn[standard]==1.2 ; os\n"}
KNOWN = {("uvicorn", "1.2"): [{"id": "GHSA-1"}]}


@pytest.fixture
def osv():
    """A server that answers as OSV does, with the advisories of KNOWN; its address."""

    class Osv(BaseHTTPRequestHandler):
        def do_POST(self):
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            vulns = [KNOWN.get((q["package"]["name"], q["version"])) for q in queries]
            body = json.dumps({"results": [{"vulns": v} if v else {} for v in vulns]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_advisory_names_lock_package_version_and_where_to_read(osv):
    """What is pinned and has an advisory is a fault; what has none is none."""
    (fault,) = faults(LOCKS, [], TODAY, osv)
    assert fault == "x/requirements.txt: uvicorn 1.2 has GHSA-1: https://osv.dev/GHSA-1"


@pytest.mark.parametrize(
    ("waiver", "covered"),
    [
        pytest.param({"id": "GHSA-1"}, True, id="of the advisory"),
        pytest.param({"id": "GHSA-1", "package": "uvicorn"}, True, id="of the package"),
        pytest.param({"id": "GHSA-1", "package": "anyio"}, False, id="of another package"),
        pytest.param({"id": "GHSA-2"}, False, id="of another advisory"),
        pytest.param({"id": "GHSA-1", "expires": date(2026, 11, 28)}, False, id="expired"),
    ],
)
def test_a_waiver_covers_one_advisory_until_its_day(osv, waiver, covered):
    """A waiver of ci/waivers.toml covers what it names, up to and with its last day."""
    given = Waiver(**{"reason": "a reason", "expires": TODAY} | waiver)
    assert (faults(LOCKS, [given], TODAY, osv) == []) is covered


def test_no_answer_is_said_and_is_not_clean():
    """Where nobody answers, the check says that it was not made."""
    with pytest.raises(NotChecked, match="not audited"):
        faults(LOCKS, [], TODAY, "http://127.0.0.1:9")
