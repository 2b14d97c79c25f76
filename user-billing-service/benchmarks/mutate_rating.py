"""Which changes of the rules of money no test notices.

    PYTHONPATH=. python benchmarks/mutate_rating.py

A mutant has one change (an operator, a comparison, a constant, a condition, a result) in one of the
rules below; the tests of its laws run until one fails. Prints the mutants that none failed for.
Asserts, annotations and decorators stay.
"""

import ast
import os
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, Final, TypeAlias

import hypothesis
import pytest

TESTS: Final = {"rating": "test_rating", "money": "test_money", "plans": "test_rating",
                "subscriptions": "test_period_rules"}  # fmt: skip
"""Room, whose `rules.py` is changed → the tests of its laws."""
OPTIONS: Final = ("-xq", "--noconftest", "-pno:cacheprovider", "-ofilterwarnings=")
LIMIT_S: Final = 60
"""Of a mutant; one that runs for longer never ends."""
SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And, ast.USub: ast.UAdd,
}  # fmt: skip
NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
Change: TypeAlias = tuple[ast.AST, str, Any]  # a node, a field of it, the field's other value


def changes(node: ast.AST) -> Iterator[Change]:  # noqa: C901 - a table in the shape of cases
    """Of the node itself."""
    match node:
        case ast.Compare():
            for place, op in enumerate(node.ops):
                if type(op) in SWAPS:
                    other = [*node.ops[:place], SWAPS[type(op)](), *node.ops[place + 1 :]]
                    yield node, "ops", other
        case ast.BinOp() | ast.BoolOp() | ast.UnaryOp() if type(node.op) in SWAPS:
            yield node, "op", SWAPS[type(node.op)]()
        case ast.Constant(value=bool() as flag):
            yield node, "value", not flag
        case ast.Constant(value=int() as number):
            yield from ((node, "value", number + by) for by in (1, -1))
        case ast.If(test=condition) | ast.IfExp(test=condition):
            yield node, "test", ast.UnaryOp(ast.Not(), condition)
        case ast.comprehension(ifs=[condition]):
            yield node, "ifs", [ast.UnaryOp(ast.Not(), condition)]
        case ast.Return(value=ast.expr()):
            yield node, "value", ast.Constant(None)
        case ast.Name(id=name) if name in NAMES:
            yield node, "id", NAMES[name]


def mutants(tree: ast.AST) -> Iterator[Change]:
    """Of the tree, which is no assert, annotation or decorator, in its order."""
    yield from changes(tree)
    for name, value in ast.iter_fields(tree):
        if name not in {"annotation", "returns", "decorator_list"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.Assert):
                    yield from mutants(child)


def is_noticed(room: str, tree: ast.Module) -> bool:
    """Whether a test fails, or does not end, when the room's rules are `tree`."""
    if child := os.fork():
        return os.waitpid(child, 0)[1] != 0
    signal.alarm(LIMIT_S)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    of_file = SourceFileLoader.get_code

    def code(loader: SourceFileLoader, name: str) -> CodeType | None:
        is_mutant = name == f"user_billing.{room}.rules"
        return compile(tree, name, "exec") if is_mutant else of_file(loader, name)

    setattr(SourceFileLoader, "get_code", code)  # noqa: B010 - in this child alone
    status = 1
    try:
        status = pytest.main([*OPTIONS, f"tests/unit/{TESTS[room]}.py"])
    finally:
        os._exit(status)


def main() -> None:
    """One line a mutant that no test notices."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    steady = hypothesis.settings(derandomize=True, database=None, deadline=None, phases=phases)
    hypothesis.settings.register_profile("mutants", steady)
    hypothesis.settings.load_profile("mutants")
    for library in ("babel.numbers", "pydantic", "sqlalchemy", "fastapi"):
        __import__(library)
    total = unnoticed = 0
    for room in TESTS:
        path = Path("user_billing", room, "rules.py")
        tree = ast.parse(path.read_text())
        assert not is_noticed(room, tree), "the tests pass as it is"
        for node, field, other in list(mutants(tree)):
            before, text = getattr(node, field), ast.unparse(node).splitlines()[0]
            setattr(node, field, other)
            total += 1
            if not is_noticed(room, ast.fix_missing_locations(tree)):
                unnoticed += 1
                line, mutant = getattr(node, "lineno", 0), ast.unparse(node).splitlines()[0]
                sys.stdout.write(f"{path}:{line}: {text}  ->  {mutant}\n")
            setattr(node, field, before)
            sys.stdout.flush()
    sys.stdout.write(f"{total} mutants, {unnoticed} unnoticed\n")


if __name__ == "__main__":
    main()
