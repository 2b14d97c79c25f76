"""The sections of a report, from one block: series are told apart by the label SECTION.

A section is JSON: `title`, `sentence` (which says when there is no data), `chart` (a number a
column, null for a gap), `rows` of `cells` (texts) and `values` (as `chart`).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from analysis_processing.analyses import resolved_params
from analysis_processing.analyses.block import F64, Block, Part, SeriesResult
from analysis_processing.analyses.changes import run as changes
from analysis_processing.analyses.forecast import run as forecast
from analysis_processing.analyses.report import SECTION
from analysis_processing.analyses.robust import number, short_name, shown
from analysis_processing.frames import series_name

ROWS_MAX = 10
Section = dict[str, Any]


def prepare(block: Block, _params: dict[str, Any]) -> list[Section]:
    """All sections; raises DoesNotFit when the range is too short to compare its halves."""
    makers = {"availability": availability, "changes": top_changes, "capacity": capacity}
    return [
        {"title": name.capitalize(), "chart": [], "rows": []}
        | (make(part) if (part := of_section(block, name)).labels else {"sentence": "No data."})
        for name, make in (makers | {"usage": usage}).items()
    ]


def run(block: Block, _params: dict[str, Any], _context: Any) -> Part:
    """The series that the report is about."""
    series = [SeriesResult(labels) for labels in block.labels]
    return Part(block.start_ms, block.step_ms, block.values.shape[1], series)


def conclude(_: Any, _params: dict[str, Any], context: list[Section]) -> dict[str, Any]:
    """The sections, and the sentence of the second: what changed."""
    return {"sentence": context[1]["sentence"], "sections": context}


def of_section(block: Block, name: str) -> Block:
    """The series of a section, without its label; those of availability and usage by the period."""
    first = block.values.shape[1] // 2 if name in {"availability", "usage"} else 0
    rows = [
        row
        for row, labels in enumerate(block.labels)
        if labels.get(SECTION, "changes") == name and not np.isnan(block.values[row, first:]).all()
    ]
    labels = [{k: v for k, v in block.labels[row].items() if k != SECTION} for row in rows]
    start_ms = block.start_ms + first * block.step_ms
    return Block(labels, start_ms, block.step_ms, block.values[rows, first:])


def row_of(part: Block, row: int, *cells: str) -> dict[str, Any]:
    """A row of a table: the series' name, these texts, between what it moved, its values."""
    name, values = short_name(part.labels[row]).strip("{}") or "all", part.values[row]
    span = f"{shown(np.nanmin(values))} … {shown(np.nanmax(values))}"
    return {"cells": [name, *cells, span], "values": numbers(values)}


def numbers(values: Iterable[float]) -> list[float | None]:
    """The values as JSON carries them."""
    return [number(float(value)) for value in values]


def availability(part: Block) -> Section:
    """The mean of `up` by series, worst first, and of all of them at each column."""
    shares = np.nanmean(part.values, axis=1)
    counts = (~np.isnan(part.values)).sum(axis=0)
    mean = np.nansum(part.values, axis=0) / np.where(counts, counts, np.nan)
    steady = int((shares == 1.0).sum())
    return {
        "sentence": f"Up {np.nanmean(part.values):.3%} of the time; {steady:,} of {len(shares):,} "
        "jobs and services always were.",
        "chart": numbers(mean),
        "rows": [
            row_of(part, row, f"{shares[row]:.3%}")
            for row in np.argsort(shares, kind="stable")[:ROWS_MAX].tolist()
        ],
    }


def top_changes(part: Block) -> Section:
    """What analysis `changes` says of the halves of the range."""
    params = resolved_params("changes", {}, part.step_ms)
    context = changes.prepare(part, params)
    summary = changes.conclude(changes.run(part, params, context).series, params, context)
    at = {series_name(labels): row for row, labels in enumerate(part.labels)}
    ranked = summary["ranked"][:ROWS_MAX]
    rows = [row_of(part, at[series_name(one["labels"])], one["text"]) for one in ranked]
    return {"sentence": f"Against the period before, {summary['sentence']}.", "rows": rows}


def capacity(part: Block) -> Section:
    """When shares that are left will be 0, by analysis `forecast` without its booster."""
    given = {"full_at": 0, "full_direction": "down", "horizon": "7d", "write_back": False}
    params = resolved_params("forecast", given, part.step_ms)
    series = forecast.run(part, params, None).series
    left: F64 = np.array([values[~np.isnan(values)][-1] for values in part.values])
    order = sorted(range(len(left)), key=lambda row: (-series[row].score, left[row]))
    texts = [one.findings[0].text if one.findings else "not soon" for one in series]
    return {
        "sentence": forecast.conclude(series, params, None)["sentence"],
        "rows": [
            row_of(part, row, f"{left[row]:.1%} left", texts[row]) for row in order[:ROWS_MAX]
        ],
    }


def usage(part: Block) -> Section:
    """How many samples the hub scraped."""
    total = np.nansum(part.values)
    words = f"{total:,.0f} samples were scraped by the hub. What they cost is on the invoices."
    return {"sentence": words, "chart": numbers(part.values[0])}
