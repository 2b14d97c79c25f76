"""Published advisories about the packages that the images carry, as https://osv.dev knows them."""

import re
from collections.abc import Mapping, Sequence
from datetime import date

import httpx

from ci.errors import OutsideFault
from ci.scan.findings import Waiver

OSV = "https://api.osv.dev"
TIMEOUT_S = 5.0
PACKAGES_MAX = 1000  # of one request
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


class NotChecked(OutsideFault):
    """A check that could not be made here; it is said, and nothing fails."""


def faults(
    locks: Mapping[str, str], waivers: Sequence[Waiver], today: date, address: str = OSV
) -> list[str]:
    """Advisories about what `locks` pin (text by path), but for those that a waiver covers today.

    Names and versions leave this machine, nothing else. `NotChecked` without an answer.
    """
    pins = sorted({(*pin, path) for path, text in locks.items() for pin in PIN.findall(text)})
    answers = []
    for start in range(0, len(pins), PACKAGES_MAX):
        queries = [
            {"package": {"name": name, "ecosystem": "PyPI"}, "version": version}
            for name, version, _ in pins[start : start + PACKAGES_MAX]
        ]
        try:
            answer = httpx.post(
                f"{address}/v1/querybatch", json={"queries": queries}, timeout=TIMEOUT_S
            ).raise_for_status()
            answers += answer.json()["results"]
        except (httpx.HTTPError, ValueError, KeyError) as exc:
            raise NotChecked(f"not audited: {address} gives no answer ({exc})") from exc
    waived = {(waiver.id, waiver.package) for waiver in waivers if waiver.expires >= today}
    return [
        f"{path}: {name} {version} has {advisory['id']}: https://osv.dev/{advisory['id']}"
        for (name, version, path), answer in zip(pins, answers, strict=True)
        for advisory in answer.get("vulns", ())
        if not {(advisory["id"], None), (advisory["id"], name)} & waived
    ]
