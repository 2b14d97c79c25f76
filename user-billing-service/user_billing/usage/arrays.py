"""Many rows as the parameters of one statement: a column an array, an array one text.

Three times as fast as a parameter for each value, of which Postgres makes a constant each to plan
(benchmarks/bench_usage.py).
"""

from collections.abc import Iterable, Sequence


def columns(rows: Iterable[Sequence[object]]) -> dict[str, str]:
    """Parameters c0, c1, …: of each column its values as text, in Postgres' form of an array.

    None is NULL. There is at least one row.
    """
    return {f"c{n}": _array(column) for n, column in enumerate(zip(*rows, strict=True))}


def _array(values: Sequence[object]) -> str:
    plain = '","'.join(map(str, values))
    if "\\" in plain or plain.count('"') > 2 * (len(values) - 1) or None in values:
        return "{" + ",".join(map(_element, values)) + "}"
    return '{"' + plain + '"}'


def _element(value: object) -> str:
    if value is None:
        return "NULL"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
