"""What a native run hands to its processes, decided from facts alone."""

import asyncio
import io
import os
import re
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import catalogue, context
from ci.native import keys, launcher
from ci.native.run import Run
from ci.native.supervisor import backoff_s, ending
from ci.screen import Screen

LISTED = catalogue.parse((catalogue.ROOT / "ci" / "ci.toml").read_text(), catalogue.ROOT)
URLS = {code: f"http://127.0.0.1:{n}" for n, code in enumerate(("das", "dis", "aps", "ubs", "ui"))}
SECRETS = keys.fresh()


def run_of(*, data_dir="/a place", public_url="http://localhost:4", **environ):
    chosen = context.from_environment(LISTED, environ | {"CLOUDOPSHUB_DATA_DIR": data_dir})
    run = Run(LISTED, chosen, Screen(io.StringIO()))
    run.secrets, run.urls, run.public_url = SECRETS, URLS, public_url
    run.ports = dict.fromkeys(URLS, 1234)
    return run


def environment(code, **changes):
    return run_of(**changes).environment(LISTED.service(code), "postgresql://x")


@pytest.mark.parametrize("code", ["das", "dis", "aps"])
def test_a_secret_goes_to_who_needs_it(code):
    """A service gets its own token, and nothing else of the secrets."""
    env = environment(code)
    assert env["SERVICE_TOKEN"] == SECRETS[f"{code.upper()}_SERVICE_TOKEN"]
    assert set(SECRETS.values()) & set(env.values()) == {env["SERVICE_TOKEN"]}


def test_ubs_gets_its_secrets_and_the_mode_of_its_cookie():
    """Over plain http a cookie cannot be Secure, and ubs is told; behind https it is."""
    env = environment("ubs")
    assert env["UBS_SECRET_KEY"] == SECRETS["UBS_SECRET_KEY"]
    tokens = dict(pair.split("=") for pair in env["UBS_SERVICE_TOKENS"].split(","))
    assert tokens == {c: environment(c)["SERVICE_TOKEN"] for c in ("das", "dis", "aps")}
    assert len({env["SERVICE_TOKEN"], *tokens.values()}) == 4
    assert (env["UBS_PLAIN_HTTP"], env["UI_PUBLIC_URL"]) == ("true", "http://localhost:4")
    assert environment("ubs", public_url="https://hub.example")["UBS_PLAIN_HTTP"] == "false"


def test_an_older_file_of_secrets_is_completed(tmp_path):
    """What it holds stays; the tokens it has not yet are made once; a variable wins unwritten."""
    path = tmp_path / "secrets.env"
    older = {name: SECRETS[name] for name in SECRETS if name[:3] not in {"DAS", "DIS", "APS"}}
    path.write_text("".join(f"{name}={value}\n" for name, value in older.items()))
    kept = keys.keep(path, {"APS_SERVICE_TOKEN": "another"})
    assert kept.items() >= older.items()
    assert kept["APS_SERVICE_TOKEN"] == "another"
    assert kept.keys() == SECRETS.keys()
    assert keys.keep(path, {}) == kept | {
        "APS_SERVICE_TOKEN": keys.parse(path.read_text())["APS_SERVICE_TOKEN"]
    }
    assert "another" not in path.read_text()


def test_dis_scrapes_the_five_services():
    """The hub watches itself: every service is a target, under its folder's name."""
    targets = environment("dis")["DIS_SCRAPE_TARGETS"].split(",")
    assert targets[0] == "data-api-service=http://127.0.0.1:0/metrics"
    assert targets[-1] == "frontend-dashboard=http://127.0.0.1:4/stub_status"


def test_dis_counts_the_processes_of_this_run_only():
    """One pid file a process, under its folder's name; a path that cannot be said is not said."""
    said = environment("dis")["DIS_HOST_PROCESSES"].split(",")
    assert "data-api-service=/a place/run/das.pid" in said
    assert [item for item in said if item.startswith("analysis-processing-service=")] == [
        "analysis-processing-service=/a place/run/aps.pid",
        "analysis-processing-service=/a place/run/aps-worker.pid",
    ]
    assert "DIS_HOST_PROCESSES" not in environment("dis", data_dir="/a,b")
    assert "DIS_HOST_PROCESSES" not in environment("das")


def test_a_persons_own_setting_wins_and_reaches_only_its_service():
    """`DIS_…` in the environment reaches dis, and nobody else."""
    chosen = {"DIS_SCRAPE_TARGETS": "mine=http://127.0.0.1:9/metrics", "DIS_X": "1"}
    targets = environment("dis", **chosen)["DIS_SCRAPE_TARGETS"]
    assert targets == f"{chosen['DIS_SCRAPE_TARGETS']},{environment('dis')['DIS_SCRAPE_TARGETS']}"
    for other in ("das", "ubs"):
        assert not {"DIS_X", "DIS_SCRAPE_TARGETS"} & set(environment(other, **chosen))


def test_the_machines_other_variables_stay_outside():
    """A service sees what it needs of the machine and no stranger's secrets."""
    seen = run_of(PATH="/bin", GITHUB_TOKEN="x", DIS_X="1", OTEL_Y="2").inherited()
    cache = {"NUMBA_CACHE_DIR": str(LISTED.root / ".cache" / "numba")}
    assert seen == {"PATH": "/bin", "DIS_X": "1", "OTEL_Y": "2"} | cache


def test_the_closing_words_can_be_pasted():
    """Address, key, query and snippet are there; the set-up link only while it is needed."""
    words = keys.closing_words(
        "http://localhost:8080", "coh_live_x", "http://localhost:8080/#/setup/t"
    )
    assert "http://localhost:8080/#/setup/t" in words
    assert "/api/data-api-service/api/v1/query?query=up" in words
    assert "url: http://localhost:8080/api/data-ingest-service/api/v1/write" in words
    assert "setup" not in keys.closing_words("http://localhost:8080", "coh_live_x", None)


def test_kernels_are_compiled_again_when_what_numba_looks_at_changes(tmp_path, monkeypatch):
    """Another lock, a touched, resized or further source; and not again otherwise."""
    service = LISTED.service("das")
    folder = tmp_path / service.folder
    source = folder / service.kernels_folder / "walk.py"
    source.parent.mkdir(parents=True)
    (tmp_path / ".cache" / "numba").mkdir(parents=True)
    run = run_of()
    run.settings = replace(run.settings, cache_dir=tmp_path / ".cache")
    run.catalogue = replace(LISTED, root=tmp_path)
    compiled = []

    async def must(*_):
        compiled.append(1)

    monkeypatch.setattr(launcher, "_must", must)
    for change in (
        lambda: (folder / "requirements.txt").write_text("a==1\n"),
        lambda: source.write_text("one"),
        lambda: os.utime(source, (1, 1)),
        lambda: (source.write_text("longer"), os.utime(source, (1, 1))),
        lambda: source.with_name("further.py").touch(),
        lambda: (folder / "requirements.txt").write_text("a==2\n"),
    ):
        change()
        for expected in (1, 0):
            compiled.clear()
            asyncio.run(launcher._compile(run, service))
            assert len(compiled) == expected


@given(st.text(keys.BASE62, min_size=32, max_size=32))
def test_a_key_carries_its_own_checksum(body):
    """Prefix, 32 characters, and the CRC32 of both in six base62 digits."""
    key = keys.api_key(body)
    assert re.fullmatch(r"coh_live_[0-9A-Za-z]{38}", key)
    number = 0
    for digit in key[-6:]:
        number = number * 62 + keys.BASE62.index(digit)
    assert number == zlib.crc32(key[:-6].encode())


def test_backoff_is_bounded():
    """0.5 s after the first end, then twice as long each time, never over 10 s."""
    assert [backoff_s(n) for n in (1, 2, 3, 5, 6, 1000)] == [0.5, 1, 2, 8, 8, 8]


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "exited with 1"), (-9, "was killed by SIGKILL"), (-64, "was killed by SIGRTMAX")],
)
def test_an_ending_is_told_in_words(code, words):
    """Codes and signals as a person names them."""
    assert ending(code) == words
