"""OpenTelemetry's names of metrics, units and attributes as Prometheus writes them.

    http.server.duration, unit s, histogram ─▶ http_server_duration_seconds
    system.network.io, By, counter          ─▶ system_network_io_bytes_total

Source: OpenTelemetry specification, compatibility/prometheus_and_openmetrics.md; where it leaves a
choice, what Prometheus's `otlptranslator` does.
"""

import functools
import re
from dataclasses import dataclass
from typing import Final

UNITS: Final = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds",
    "us": "microseconds", "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes",
    "MiBy": "mebibytes", "GiBy": "gibibytes", "TiBy": "tebibytes", "KBy": "kilobytes",
    "kBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes", "m": "meters",
    "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius",
    "Hz": "hertz", "1": "", "%": "percent",
}  # fmt: skip
PER_UNITS: Final = {
    "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year",
}  # fmt: skip
# A name that already says the unit as Prometheus's own library once misspelt it says it.
_MISSPELT: Final = {"tebibytes": "tibibytes"}
_NOT_IN_TOKEN: Final = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_NAME: Final = re.compile(r"[^a-zA-Z0-9:_]+")
_NOT_IN_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_LABELS_REMEMBERED: Final = 4096
_REMEMBERED_MAX: Final = 256
"""Characters: longer keys would fill the memory of all requests after them."""


@dataclass(frozen=True, slots=True)
class NameStyle:
    """How names are written. escape: other characters than Prometheus's old ones become `_`.

    suffixes: unit and type are added to a metric's name.
    """

    escape: bool = True
    suffixes: bool = True


STYLES: Final = {
    "UnderscoreEscapingWithSuffixes": NameStyle(),
    "UnderscoreEscapingWithoutSuffixes": NameStyle(suffixes=False),
    "NoUTF8EscapingWithSuffixes": NameStyle(escape=False),
    "NoTranslation": NameStyle(escape=False, suffixes=False),
}
"""By the names that Prometheus's `translation_strategy` has for them."""


def metric_name(
    name: str, unit: str, style: NameStyle, *, is_counter: bool = False, is_gauge: bool = False
) -> str:
    """The metric name without the suffix of a part (`_bucket`); empty when nothing is left of it.

    is_counter: it only grows. is_gauge: a gauge proper, no sum that may fall.
    """
    if not style.suffixes:
        if not style.escape:
            return name
        return _with_letter_first("_".join(filter(None, _NOT_IN_NAME.split(name))))
    ending = "total" if is_counter else "ratio" if is_gauge and unit == "1" else ""
    main, per = unit_words(unit)
    if not style.escape:
        return _with_suffixes(name, main, per, ending)
    tokens = [token for token in _NOT_IN_TOKEN.split(name) if token]
    if not tokens:
        return ""
    for word in (_token(main), _token(per)):
        if word and word not in tokens and _MISSPELT.get(word) not in tokens:
            tokens.append(word)
    if ending:
        tokens = [*(token for token in tokens if token != ending), ending]
    return _with_letter_first("_".join(tokens))


def unit_words(unit: str) -> tuple[str, str]:
    """A unit's two parts in words: `By/s` → (`bytes`, `per_second`); annotations are left out."""
    main, _, per = unit.partition("/")
    main, per = (text if not set(text) & set("{}") else "" for text in (main.strip(), per.strip()))
    return UNITS.get(main, main), f"per_{PER_UNITS.get(per, per)}" if per else ""


def unit_name(unit: str) -> str:
    """The unit as one word of metadata: `By/s` → `bytes_per_second`."""
    return "_".join(filter(None, map(_token, unit_words(unit))))


def label_name(key: str, *, escape: bool = True) -> str:
    """An attribute's key as a label name.

    Several `_` in a row stay. A digit at the start gets `key_` before it, one `_` gets `key`;
    `__x__` stays.
    """
    if not escape:
        return key
    return _escaped(key) if len(key) <= _REMEMBERED_MAX else _escaped.__wrapped__(key)


@functools.lru_cache(_LABELS_REMEMBERED)
def _escaped(key: str) -> str:
    label = _NOT_IN_LABEL.sub("_", key)
    if label[:1].isdigit():
        return f"key_{label}"
    return f"key{label}" if label.startswith("_") and not label.startswith("__") else label


def _token(words: str) -> str:
    """A unit's words as a part of a name, without `_` at its ends."""
    word = _NOT_IN_TOKEN.sub("_", words).strip("_")
    return "" if word == "per" else word


def _with_letter_first(name: str) -> str:
    return f"_{name}" if name[:1].isdigit() else name


def _with_suffixes(name: str, main: str, per: str, ending: str) -> str:
    """The name with its unit and ending, each once: one that it ends with already moves."""
    for suffix in (ending, per):
        name = _without(name, suffix)
    if main and not name.endswith(main):
        name = f"{name}_{main}"
    return "_".join(filter(None, (name, per, ending)))


def _without(name: str, suffix: str) -> str:
    """`name` without `suffix` and the character before it, if something is left then."""
    if suffix and name.endswith(suffix) and len(name) > len(suffix) + 1:
        return name[: -len(suffix) - 1]
    return name
