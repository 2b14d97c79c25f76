"""docs/notebooks.md, run as it stands against the running platform."""

import json
import re
import subprocess
import time

from native_platform import ROOT

PYTHON = ROOT / "analysis-processing-service/.venv/bin/python"
ASK = """
import sys
frame = Hub(*sys.argv[1:3]).frame("e2e_notebook", *sys.argv[3:5], step="60s")
assert str(frame.index.tz) == "UTC"
print(frame.to_json(orient="split", date_unit="ms"))
"""


def test_a_query_is_a_frame(platform):
    """Series are columns, times are rows, a step without a sample is NaN; an error is read."""
    last_ms = time.time_ns() // 60_000_000_000 * 60_000 - 60_000
    times = [last_ms - n * 60_000 for n in (3, 2, 1, 0)]
    for host, values in (("a", (1, 2, 3, 4)), ("b", (5, 6, 7, 8))):
        labels = {"__name__": "e2e_notebook", "host": host}
        assert platform.write(labels, list(zip(times, values, strict=True))) == 204
    lines = re.findall(r"```python\n(.*?)```", (ROOT / "docs/notebooks.md").read_text(), re.DOTALL)
    ends = [str(ms / 1000) for ms in (times[0] - 60_000, times[-1])]
    asked = [
        str(PYTHON), "-c", lines[0] + ASK, platform.url, platform.key,
        *(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(end))) for end in ends),
    ]  # fmt: skip
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr
    frame = json.loads(answer.stdout)
    assert [json.loads(name)["host"] for name in frame["columns"]] == ["a", "b"]
    assert frame["index"] == [times[0] - 60_000, *times]
    assert frame["data"] == [[None, None], [1, 5], [2, 6], [3, 7], [4, 8]]
