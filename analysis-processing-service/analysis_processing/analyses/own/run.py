"""An operator's function over a frame, and what it gives as columns of a result.

    frame  UTC index, one column a series, named by the series' labels as canonical JSON
    params the job's `arguments`
    back   a frame on times of the job: columns of the same names hold what goes with these series,
           any other column is a series of its own; or a Series: a number for each series

The file runs with the rights of the worker's child: only the operator, who can change the program
anyway, says which there are (`APS_OWN_ANALYSES`, a folder). Nothing is taken from a request.
"""

import json
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis_processing.analyses.block import Block, Part, SeriesResult
from analysis_processing.errors import InvalidJob
from analysis_processing.frames import series_name, to_frame

FOLDER = "APS_OWN_ANALYSES"
COLUMNS_MAX = 20_000
Function = Callable[[pd.DataFrame, dict[str, Any]], pd.DataFrame | pd.Series]


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when the job began, so that each chunk, wherever it runs, has the same."""

    name: str
    text: str
    arguments: dict[str, Any]
    names: frozenset[str]


def prepare(block: Block, params: dict[str, Any]) -> Source:
    """The function's file. Raises InvalidJob naming the files there are."""
    folder = os.environ.get(FOLDER, "")
    files = {path.stem: path for path in sorted(Path(folder).glob("*.py"))} if folder else {}
    name = params["function"] or (next(iter(files)) if len(files) == 1 else "")
    if name not in files:
        there = ", ".join(files) or f"none; {FOLDER} is the folder of such files"
        raise InvalidJob(detail=f"params.function is {name!r}; there are: {there}")
    try:
        arguments = json.loads(params["arguments"])
    except ValueError as exc:
        raise InvalidJob(detail=f"params.arguments is not JSON: {exc}") from exc
    if not isinstance(arguments, dict):
        raise InvalidJob(detail="params.arguments is not a JSON object")
    count = params["sample"] or len(block.labels)
    names = frozenset(series_name(labels) for labels in block.labels[:count])
    return Source(f"{name}.py", files[name].read_text(encoding="utf-8"), arguments, names)


def run(block: Block, params: dict[str, Any], context: Source) -> Part:
    """The function's answer for these series. Raises InvalidJob with its own error and line."""
    names = [series_name(labels) for labels in block.labels]
    chosen = [row for row, name in enumerate(names) if name in context.names]
    if not chosen:
        notes = [
            SeriesResult(labels, note="not in the dry run's sample") for labels in block.labels
        ]
        return Part(block.start_ms, block.step_ms, block.values.shape[1], notes)
    frame = to_frame(
        block.values[chosen], [names[row] for row in chosen], block.start_ms, block.step_ms
    )
    answer = _call(context, frame.copy())
    if isinstance(answer, pd.Series):
        results = _numbers(block, names, answer)
    elif isinstance(answer, pd.DataFrame):
        results = _columns(block, names, frame, answer)
    else:
        kind = type(answer).__name__
        raise InvalidJob(detail=f"{context.name}: run gave a {kind}, not a DataFrame or a Series")
    return Part(block.start_ms, block.step_ms, block.values.shape[1], results)


def _call(source: Source, frame: pd.DataFrame) -> object:
    scope: dict[str, Any] = {"__name__": source.name}
    try:
        exec(compile(source.text, source.name, "exec"), scope)  # noqa: S102  the operator's own file
        function: Function = scope["run"]
        return function(frame, dict(source.arguments))
    except Exception as exc:
        frames = traceback.extract_tb(exc.__traceback__)
        line = next((one.lineno for one in reversed(frames) if one.filename == source.name), 0)
        raise InvalidJob(
            detail=f"{source.name}:{line}: {type(exc).__name__}: {str(exc)[:200]}"
        ) from exc


def _numbers(block: Block, names: list[str], answer: "pd.Series[Any]") -> list[SeriesResult]:
    numbers = pd.to_numeric(answer, errors="coerce").to_dict()
    results = []
    for labels, name in zip(block.labels, names, strict=True):
        number = float(numbers.get(name, np.nan))
        if np.isnan(number):
            results.append(SeriesResult(labels, note="the function gave no number for it"))
        else:
            results.append(SeriesResult(labels, abs(number), {"result": number}))
    return results


def _columns(
    block: Block, names: list[str], frame: pd.DataFrame, answer: pd.DataFrame
) -> list[SeriesResult]:
    if answer.shape[1] > COLUMNS_MAX:
        raise InvalidJob(detail=f"{answer.shape[1]} columns came back, the limit is {COLUMNS_MAX}")
    aligned = answer.apply(pd.to_numeric, errors="coerce").reindex(frame.index)
    given = {str(name): aligned.iloc[:, at].to_numpy(np.float64) for at, name in enumerate(answer)}
    results = []
    for row, (labels, name) in enumerate(zip(block.labels, names, strict=True)):
        column = given.pop(name, None)
        if column is None:
            results.append(SeriesResult(labels, note="the function gave no column for it"))
        else:
            columns = {"values": block.values[row], "expected": column}
            results.append(SeriesResult(labels, columns=columns))
    results += [
        SeriesResult({"__name__": name}, columns={"values": column})
        for name, column in given.items()
    ]
    return results
