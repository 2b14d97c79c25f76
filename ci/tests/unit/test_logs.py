"""Log lines for people, and files that do not fill the disk."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ci.native import logs
from ci.native.logs import Follower, bound, is_routine, reason_line, render, tail

LINE = json.dumps(
    {
        "event": "batch_written",
        "samples": 5,
        "who": "a b",
        "request_id": "f00",
        "level": "warning",
        "timestamp": "2026-01-31T12:34:56.789Z",
    }
)


def test_a_json_line_is_unfolded():
    """Time of day, level when it matters, the event, then its facts."""
    assert render(LINE, "dis", colour=False) == (
        '       dis │ 12:34:56 warning batch_written samples=5 who="a b"'
    )


def test_a_trace_stands_on_its_own_lines():
    """An exception is readable, and every line of it names its process."""
    text = render(json.dumps({"event": "x", "exception": "one\ntwo"}), "das", colour=False)
    assert text.splitlines() == ["       das │ x", "       das │   one", "       das │   two"]


@given(st.text())
def test_no_line_reaches_the_terminals_controls(text):
    """Whatever is logged, plain or as a JSON value, no escape or control character gets out."""
    for line in (text.replace("\n", " "), json.dumps({"event": text, "key": text})):
        shown = render(line, "ui", colour=False)
        assert all(ord(c) >= 32 and not 127 <= ord(c) < 160 for c in shown)


def test_only_requests_that_went_well_are_routine():
    """A refusal, an error and everything that is no request are news."""
    request = {"event": "request", "status": 204}
    assert is_routine(json.dumps(request))
    assert not is_routine(json.dumps(request | {"status": 401}))
    assert not is_routine(json.dumps(request | {"event": "start"}))
    assert not is_routine('{"event": "request", broken')


def test_a_reason_leaves_out_the_probes():
    """What was asked every moment does not push the reason off the screen."""
    probe = json.dumps({"event": "request", "route": "/ready", "status": 503})
    assert reason_line(probe) == ""
    assert "batch_written" in reason_line(LINE)


def test_whole_lines_are_followed(tmp_path):
    """Half a line waits for its other half; what was there before is left alone on demand."""
    path = tmp_path / "x.log"
    path.write_bytes(b"old\n")
    follower = Follower("x", path)
    with path.open("ab") as file:
        file.write(b"one\ntw")
        file.flush()
        assert list(follower.new_lines()) == ["one"]
        file.write(b"o\n")
        file.flush()
        assert list(follower.new_lines()) == ["two"]


def test_a_long_file_is_cut_and_followed_on(tmp_path, monkeypatch):
    """Over its bound the file is kept as `.1` and emptied; nothing written afterwards is missed."""
    monkeypatch.setattr(logs, "FILE_BYTES_MAX", 10)
    path = tmp_path / "x.log"
    follower = Follower("x", path)
    with path.open("ab") as file:
        file.write(b"0123456789\n")
        file.flush()
        assert list(follower.new_lines()) == ["0123456789"]
        bound(path)
        assert (path.stat().st_size, (tmp_path / "x.log.1").stat().st_size) == (0, 10)
        file.write(b"after\n")
        file.flush()
        assert list(follower.new_lines()) == ["after"]


def test_a_full_disk_keeps_no_copy_and_is_freed(tmp_path, monkeypatch):
    """What cannot be copied is cut all the same, and nothing ends for it."""
    monkeypatch.setattr(logs, "FILE_BYTES_MAX", 10)
    path = tmp_path / "x.log"
    path.write_bytes(b"0123456789\n")
    (tmp_path / "x.log.1").mkdir()  # cannot be written
    bound(path)
    assert path.stat().st_size == 0
    bound(tmp_path / "none.log")


def test_the_tail_of_this_start_only(tmp_path):
    """The last lines from a position on; from the beginning when the file was cut since."""
    path = tmp_path / "x.log"
    path.write_text("one\ntwo\nthree\n")
    assert tail(path, 2) == ["two", "three"]
    assert tail(path, 9, start=4) == ["two", "three"]
    assert tail(path, 9, start=999) == ["one", "two", "three"]
    assert tail(tmp_path / "none", 3) == []
