"""A report as a document: sections of rows with small charts; a self-contained page of it, a PDF.

Every text goes through `plain` and, in the page, is escaped. Charts are lines in both, and a text
is a text that can be searched for.
"""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fpdf import FPDF

TEXT_MAX = 300
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td{border-top:1px solid #ccc;padding:.3rem .5rem;"
    "overflow-wrap:anywhere}polyline{fill:none;stroke:#2563eb;stroke-width:1.2}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#eee}}"
)
CSP = (
    "default-src 'none'; frame-ancestors 'self'; sandbox; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'"
)
LINK = ("#2563eb", (37, 99, 235))


@dataclass(frozen=True, slots=True)
class Row:
    """Texts beside each other, and a chart of `values` in time order, NaN where there is none."""

    cells: tuple[str, ...]
    values: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A title, a sentence (which says when there are no data), a chart, rows."""

    title: str
    sentence: str
    rows: list[Row] = field(default_factory=list)
    chart: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A report. period: in words."""

    title: str
    period: str
    sections: list[Section]


def plain(text: str) -> str:
    """At most TEXT_MAX characters, none of which steers a terminal, a reader or a layout."""
    cut = text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
    return "".join(one if one.isprintable() else " " for one in cut)


def lines(values: Sequence[float], width: float, height: float) -> list[list[tuple[float, float]]]:
    """The chart as lines of (x, y) with y downwards, one for each stretch without a gap."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    low, high = min(finite), max(finite)
    scale = high / 2 - low / 2 or 1.0  # halves: no span overflows
    pieces: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values):
        if not math.isfinite(value):
            pieces.append([])
            continue
        up = (value / 2 - low / 2) / scale if high > low else 0.5
        x = width * place / max(len(values) - 1, 1)
        pieces[-1].append((round(x, 1), round(height * (1 - up), 1)))
    return [
        piece if len(piece) > 1 else [*piece, (piece[0][0] + 0.5, piece[0][1])]
        for piece in pieces
        if piece
    ]


def ends(values: Sequence[float]) -> str:
    """Between which values a chart goes."""
    finite = [value for value in values if math.isfinite(value)]
    return f"{min(finite):.4g} … {max(finite):.4g}" if finite else ""


def svg(values: Sequence[float], width: int, height: int) -> str:
    """The chart as a picture in a page."""
    drawn = "".join(
        f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in piece)}"/>'
        for piece in lines(values, width, height)
    )
    box = f'viewBox="-1 -1 {width + 2} {height + 2}" width="{width}" height="{height}"'
    return f'<svg {box} role="img" aria-label="{ends(values)}">{drawn}</svg>' if drawn else ""


def html(document: Document) -> bytes:
    """One page without script, style of others or anything to load."""

    def safe(text: str) -> str:
        return escape(plain(text))

    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{safe(document.title)}'
        f"</title><style>{STYLE}</style><h1>{safe(document.title)}</h1><p>{safe(document.period)}"
    ]
    for section in document.sections:
        parts.append(f"<h2>{safe(section.title)}</h2><p>{safe(section.sentence)}</p>")
        parts.append(svg(section.chart, 900, 90))
        rows = [
            "<tr>"
            + "".join(f"<td>{safe(cell)}" for cell in row.cells)
            + f"<td>{svg(row.values, 150, 26)}<br>{ends(row.values)}"
            for row in section.rows
        ]
        parts.append(f"<table>{''.join(rows)}</table>" if rows else "")
    return "".join([*parts, "</html>"]).encode()


def pdf(document: Document) -> bytes:
    """Pages of A4, in DejaVu Sans, which has far more than Latin letters."""
    import matplotlib as mpl  # noqa: PLC0415  the web process reads this module and draws nothing
    from fpdf import FPDF  # noqa: PLC0415

    paper, fonts = FPDF(), Path(mpl.get_data_path()) / "fonts" / "ttf"
    paper.add_font("sans", "", fonts / "DejaVuSans.ttf")
    paper.set_title(plain(document.title))
    paper.set_draw_color(*LINK[1])
    paper.add_page()

    def write(text: str, size: float, width: float = 0.0) -> None:
        paper.set_font("sans", size=size)
        paper.multi_cell(width, size * 0.5, plain(text), align="L", new_x="LMARGIN", new_y="NEXT")

    write(document.title, 18)
    write(document.period, 10)
    for section in document.sections:
        paper.ln(6)
        write(section.title, 14)
        write(section.sentence, 10)
        if section.chart:
            draw(paper, section.chart, (paper.l_margin, paper.y + 1), (paper.epw, 18))
            paper.ln(21)
        for row in section.rows:
            if paper.will_page_break(24):
                paper.add_page()
            top = paper.y + 1
            paper.set_y(top)
            write(" · ".join(row.cells), 8, paper.epw - 50)
            bottom = paper.y
            draw(paper, row.values, (paper.w - paper.r_margin - 45, top), (45, 7))
            paper.set_xy(paper.w - paper.r_margin - 45, top + 7)
            write(ends(row.values), 6, 45)
            paper.set_y(max(bottom, paper.y) + 1)
    return bytes(paper.output())


def draw(
    paper: "FPDF", values: Sequence[float], at: tuple[float, float], size: tuple[float, float]
) -> None:
    """The chart stands on the paper; `at` and `size` in mm."""
    for piece in lines(values, *size):
        paper.polyline([(at[0] + x, at[1] + y) for x, y in piece])
