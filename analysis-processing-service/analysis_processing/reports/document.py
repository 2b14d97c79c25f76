"""An issue as a page that loads and runs nothing, and as a PDF whose text can be searched.

A document is sections as `analyses.report.run` makes them. Every text goes through `plain`, and in
the page is escaped. Charts are lines, of one picture for both.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from sqlalchemy import RowMapping

TEXT_MAX = 300
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}"
    "td{border-top:1px solid #ccc;padding:.3rem .5rem;overflow-wrap:anywhere}"
)
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CSP = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; frame-ancestors 'self'; sandbox"


def plain(text: str) -> str:
    """At most TEXT_MAX characters, none of which steers a reader or a layout."""
    cut = text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
    return "".join(one if one.isprintable() else " " for one in cut)


def svg(values: Sequence[float | None], width: int, height: int) -> str:
    """The values from the lowest to the highest, a line for each stretch without a gap, or ""."""
    present = [value / 2 for value in values if value is not None]  # halves: no span overflows
    if not present:
        return ""
    low, high = min(present), max(present)
    lines: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            lines.append([])
            continue
        up = (value / 2 - low) / (high - low) if high > low else 0.5
        x, y = 1 + width * place / len(values), 1 + height * (1 - up)
        lines[-1] += [f"{x:.1f},{y:.1f}", f"{x + 0.8:.1f},{y:.1f}"]
    drawn = "".join(
        f'<polyline points="{" ".join(line)}" fill="none" stroke="#2563eb"/>'
        for line in lines
        if line
    )
    size = f'width="{width + 2}" height="{height + 2}" viewBox="0 0 {width + 2} {height + 2}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{drawn}</svg>'


def events(largest: Sequence[RowMapping], kinds: Sequence[Any]) -> dict[str, Any]:
    """The section of what watches saw."""
    rows = []
    for one in largest:
        at = datetime.fromtimestamp(one["start_ms"] / 1000, UTC)
        series = ", ".join(f"{name}={value}" for name, value in sorted(one["labels"].items()))
        what = f"{one['kind']} in {one['watch']}"
        rows.append({"cells": [f"{at:%Y-%m-%d %H:%M}", what, series, one["text"]], "values": []})
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
    sentence = f"{counts}; the largest:" if rows else "No event began."
    return {"title": "Events", "sentence": sentence, "chart": [], "rows": rows}


def html(title: str, sections: Sequence[dict[str, Any]]) -> bytes:
    """The page."""

    def safe(text: str) -> str:
        return escape(plain(text))

    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{safe(title)}</title>'
    parts = [f"{head}<style>{STYLE}</style><h1>{safe(title)}</h1>"]
    for one in sections:
        parts.append(f"<h2>{safe(one['title'])}</h2><p>{safe(one['sentence'])}</p>")
        parts.append(f"{svg(one['chart'], 900, 90)}<table>")
        for row in one["rows"]:
            cells = "".join(f"<td>{safe(cell)}</td>" for cell in row["cells"])
            parts.append(f"<tr>{cells}<td>{svg(row['values'], 150, 26)}</td></tr>")
        parts.append("</table>")
    return "".join(parts).encode()


def pdf(title: str, sections: Sequence[dict[str, Any]]) -> bytes:
    """Pages of A4 in FiraGO, which has more than Latin letters."""
    # memory that the web process does not pay at start
    import pymupdf_fonts  # noqa: PLC0415
    from fpdf import FPDF  # noqa: PLC0415
    from fpdf.fonts import TTFFont  # noqa: PLC0415

    paper = FPDF()
    font = io.BytesIO(pymupdf_fonts.myfont("figo"))
    paper.fonts["sans"] = TTFFont(paper, font, "sans", "")  # type: ignore[arg-type] # it reads files too
    paper.set_title(plain(title))
    paper.add_page()

    def write(text: str, size: float) -> None:
        paper.set_font("sans", size=size)
        paper.multi_cell(0, size * 0.5, plain(text), align="L", new_x="LMARGIN", new_y="NEXT")

    write(title, 18)
    for one in sections:
        paper.ln(5)
        write(one["title"], 14)
        write(one["sentence"], 10)
        if chart := svg(one["chart"], 900, 90):
            paper.image(io.BytesIO(chart.encode()), w=paper.epw)
        paper.set_font("sans", size=8)
        with paper.table(first_row_as_headings=False, line_height=4) as table:
            for row in one["rows"]:
                line = table.row([*map(plain, row["cells"])])
                chart = svg(row["values"], 150, 26)
                line.cell(img=io.BytesIO(chart.encode()) if chart else None, img_fill_width=True)
    return bytes(paper.output())
