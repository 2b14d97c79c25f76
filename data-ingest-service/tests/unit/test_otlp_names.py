"""Laws of OpenTelemetry's names as Prometheus writes them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_ingest.protocols.otlp.names import STYLES, UNITS, label_name, metric_name, unit_name

WITH, WITHOUT = (
    STYLES["UnderscoreEscapingWithSuffixes"],
    STYLES["UnderscoreEscapingWithoutSuffixes"],
)
UTF8, RAW = STYLES["NoUTF8EscapingWithSuffixes"], STYLES["NoTranslation"]


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("http.server.duration", "s", "", "http_server_duration_seconds"),
        ("system.network.io", "By", "counter", "system_network_io_bytes_total"),
        ("system.network.io", "By/s", "gauge", "system_network_io_bytes_per_second"),
        ("speed", "km/h", "gauge", "speed_km_per_hour"),
        ("requests", "{request}", "counter", "requests_total"),
        ("requests", "{request}/s", "gauge", "requests_per_second"),
        ("a.total.b", "", "counter", "a_b_total"),
        ("memory.utilization", "1", "gauge", "memory_utilization_ratio"),
        ("ratio.of.things", "1", "gauge", "of_things_ratio"),
        ("queue.size", "1", "", "queue_size"),
        ("requests", "1", "counter", "requests_total"),
        ("cpu.seconds", "s", "counter", "cpu_seconds_total"),
        ("cpu.time", "s", "counter", "cpu_time_seconds_total"),
        ("disk", "TiBy", "", "disk_tebibytes"),
        ("disk.tibibytes", "TiBy", "", "disk_tibibytes"),
        ("load", "%", "gauge", "load_percent"),
        ("__a..b__c", "", "", "a_b_c"),
        ("job:rate5m", "", "", "job:rate5m"),
        ("2xx.count", "", "", "_2xx_count"),
        ("x", "°C", "", "x_C"),
        ("x", "By/°", "", "x_bytes"),
        ("☃", "s", "", ""),
        ("", "", "counter", ""),
    ],
)
def test_names_with_suffixes(name, unit, kind, expected):
    """Other characters are one `_`; unit, `per`, `_total` or `_ratio` follow, each once."""
    written = metric_name(name, unit, WITH, is_counter=kind == "counter", is_gauge=kind == "gauge")
    assert written == expected


@pytest.mark.parametrize(
    ("style", "name", "unit", "expected"),
    [
        (WITHOUT, "http.server__duration", "s", "http_server__duration"),
        (WITHOUT, "2xx", "", "_2xx"),
        (WITHOUT, "☃", "", ""),
        (UTF8, "http.server.duré", "s", "http.server.duré_seconds_total"),
        (UTF8, "io.total", "By/s", "io_bytes_per_second_total"),
        (UTF8, "io_bytes_per_second_total", "By/s", "io_bytes_per_second_total"),
        (UTF8, "total", "", "total_total"),
        (RAW, "http.server.duré", "s", "http.server.duré"),
    ],
)
def test_names_in_other_styles(style, name, unit, expected):
    """Without suffixes nothing is added; with UTF-8 kept nothing is replaced (here of counters)."""
    assert metric_name(name, unit, style, is_counter=True) == expected


@given(st.text(max_size=12), st.text(max_size=6), st.booleans(), st.booleans())
def test_an_escaped_name_is_a_metric_name(name, unit, is_counter, is_gauge):
    """Whatever the name and the unit, what is written is one of Prometheus's old names, or empty;
    writing it again changes nothing.
    """
    for style in (WITH, WITHOUT):
        written = metric_name(name, unit, style, is_counter=is_counter, is_gauge=is_gauge)
        assert re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)?", written)
        if style == WITHOUT:
            assert metric_name(written, unit, style) == written


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("http.method", "http_method"),
        ("a..b", "a__b"),
        ("9lives", "key_9lives"),
        ("_hidden", "key_hidden"),
        (".dot", "key_dot"),
        ("__x__", "__x__"),
        ("größe", "gr__e"),
        ("a:b", "a_b"),
        ("", ""),
    ],
)
def test_label_names(key, expected):
    """Each other character is a `_`; a start that Prometheus keeps for itself gets `key`."""
    assert label_name(key) == expected
    assert label_name(key, escape=False) == key


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("By/s", "bytes_per_second"),
        ("1", ""),
        ("", ""),
        ("{x}", ""),
        ("s", "seconds"),
        ("/s", "per_second"),
    ],
)
def test_units_of_metadata(unit, expected):
    """A unit is one word; annotations and `1` are none."""
    assert unit_name(unit) == expected


def test_every_unit_is_a_word():
    """What stands in the table can stand in a name as it is."""
    assert all(re.fullmatch("[a-z]*", word) for word in UNITS.values())
