"""Scripts × engine → outcomes.

An instant eval is run again as a range query around its time, as upstream does. An eval that
touches a native histogram is of the class `native`, one that needs what upstream hides behind a
feature flag `experimental`; the rest is `core`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_api import promql
from data_api.promql.functions import FUNCTIONS
from data_api.promql.nodes import Aggregate, Call, Expr, children
from data_api.promqltest.check import OPTIONS, check
from data_api.promqltest.literals import Literal
from data_api.promqltest.memory_store import MemoryStore, load_block
from data_api.promqltest.script import BadScript, Eval, blocks, parse_eval

CLASSES = ("core", "native", "experimental")
# Of Prometheus's own.
EXPERIMENTAL_FILES = frozenset(
    {
        "duration_expression",
        "extended_vectors",
        "fill-modifier",
        "info",
        "limit",
        "start_timestamps",
    }
)


@dataclass
class Outcome:
    """How an eval went. kind: core, native or experimental. problem: None when it passed."""

    file: str
    line: int
    query: str
    kind: str
    problem: str | None


def _nodes(expr: Expr) -> Iterator[Expr]:
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(children(node))


def is_experimental(query: str) -> bool:
    """Whether a query needs what upstream hides behind a feature flag."""
    try:
        expr = promql.parse(query)
    except promql.ParseError:
        return True
    return any(
        (isinstance(node, Call) and FUNCTIONS[node.name].experimental)
        or (isinstance(node, Aggregate) and node.op in {"limitk", "limit_ratio"})
        for node in _nodes(expr)
    )


def run_script(path: Path, options: promql.Options = OPTIONS) -> list[Outcome]:
    """Every eval of a script, in order, with its outcome. Raises BadScript with file and line."""
    store = MemoryStore()
    outcomes: list[Outcome] = []
    for line, block in blocks(path.read_text()):
        try:
            if block[0] == "clear":
                store = MemoryStore()
                continue
            if block[0].startswith("load"):
                load_block(store, block)
                continue
            ev = parse_eval(line, block)
        except (BadScript, ValueError) as error:
            raise BadScript(f"{path}:{line}: {error}") from error
        store.touched_native = False
        problem = check(store, ev, options)
        kind = _class_of(ev, path.stem, touched_native=store.touched_native)
        outcomes.append(Outcome(path.stem, line, ev.query, kind, problem))
    return outcomes


def _class_of(ev: Eval, file: str, *, touched_native: bool) -> str:
    if touched_native or any(isinstance(v, Literal) for s in ev.series for v in s.values):
        return "native"
    if file in EXPERIMENTAL_FILES or (is_experimental(ev.query) and not ev.fails):
        return "experimental"
    return "core"
