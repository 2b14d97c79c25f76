"""A document's payload as pages: the same bytes for the same payload and library. Pure.

    sender, customer, number, dates │ lines, wrapped, with carried totals │ taxes, total, notes

Every number is the text that the payload has: JSON and PDF cannot differ.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from user_billing import __version__
from user_billing.invoices import letters

TITLES: Final = {
    "invoice": "Invoice",
    "credit_note": "Credit note",
    "statement": "Usage statement, not an invoice",
}
MARGIN: Final = 18
WIDTHS: Final = (10, 94, 40, 30)
"""Millimetres: number, description, quantity, amount."""
LINE: Final = 4.6
FOOT: Final = 24


class _Pages(FPDF):
    """A4, its fonts, its footer."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        super().__init__()
        self.payload = payload
        letters.use(self, letters.visual(_all_text(payload)))
        self.set_creation_date(datetime.fromisoformat(payload["issued_at"]))
        self.set_producer(f"CloudOpsHub {__version__}")
        self.heading = f"{TITLES[payload['document']]} {payload['number'] or ''}".strip()
        self.set_title(self.heading)
        self.set_margin(MARGIN)
        self.set_auto_page_break(auto=False, margin=FOOT)
        self.alias_nb_pages("{pages}")
        self.add_page()

    def footer(self) -> None:
        """The number of the document and of the page."""
        self.set_y(-14)
        self.set_font(letters.FAMILY, size=8)
        text = f"{self.heading} · page {self.page_no()} of {{pages}}"
        self.cell(0, 4, letters.visual(text), align="C")

    def text_block(self, text: str, size: float = 9, align: str = "L", width: float = 0) -> None:
        """Wrapped text, then the next line."""
        self.set_font(letters.FAMILY, size=size)
        self.multi_cell(
            width, size / 2, letters.visual(text), align=align, new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )

    def height(self, text: str) -> float:
        """Millimetres that a description takes."""
        lines = self.multi_cell(
            WIDTHS[1], LINE, letters.visual(text), dry_run=True, output="LINES", align="L"
        )
        assert isinstance(lines, list), "that is what LINES gives"
        return len(lines) * LINE

    def row(self, cells: tuple[str, str, str, str]) -> None:
        """One line of the table, high enough for its description."""
        top, x = self.get_y(), self.l_margin
        bottom = top
        for width, text, align in zip(WIDTHS, cells, ("L", "L", "R", "R"), strict=True):
            self.set_xy(x, top)
            self.multi_cell(width, LINE, letters.visual(text), align=align, new_y=YPos.NEXT)
            bottom, x = max(bottom, self.get_y()), x + width
        self.set_xy(self.l_margin, bottom)

    def rule(self) -> None:
        """A line across the page."""
        self.set_y(self.get_y() + 1)
        self.line(self.l_margin, self.get_y(), self.w - self.r_margin, self.get_y())
        self.set_y(self.get_y() + 1)

    def room(self, height: float, carried: Decimal | None) -> None:
        """There is `height` left on this page; else the next one begins with the carried total."""
        if self.get_y() + height <= self.h - FOOT:
            return
        if carried is not None:
            self.row(("", "Carried forward", "", f"{carried:f}"))
        self.add_page()
        self.set_font(letters.FAMILY, size=9)
        if carried is not None:
            self.row(("", "Brought forward", "", f"{carried:f}"))
            self.rule()


def render(payload: Mapping[str, Any]) -> bytes:
    """The PDF of the payload (`payload.py`)."""
    pages = _Pages(payload)
    _head(pages)
    _lines(pages)
    _sums(pages)
    return bytes(pages.output())


def _all_text(value: object) -> str:
    if isinstance(value, Mapping):
        return "\n".join(map(_all_text, value.values()))
    return "\n".join(map(_all_text, value)) if isinstance(value, list) else str(value)


def _times(of: Mapping[str, Any]) -> str:
    start, end = (of[name].removesuffix("T00:00:00Z") for name in ("start", "end"))
    return f"{start} to {end}"


def _labelled(of: Mapping[str, Any], **labels: str) -> list[str]:
    """The fields that there are, each after its label."""
    return [f"{label} {of[name]}" for name, label in labels.items() if of[name]]


def _head(pages: _Pages) -> None:
    payload = pages.payload
    seller, customer = payload["seller"], payload["customer"]
    if seller:
        numbers = _labelled(seller, tax_number="Tax number", vat_id="VAT id")
        lines = [seller["legal_name"], seller["address"], seller["country"], *numbers]
        pages.text_block("\n".join(lines), 8, align="R")
    pages.set_y(pages.get_y() + 6)
    lines = [customer["legal_name"], customer["address"], customer["country"]]
    lines += _labelled(customer, vat_id="VAT id")
    pages.text_block("\n".join(filter(None, lines)), 10, width=110)
    pages.set_y(pages.get_y() + 8)
    pages.text_block(pages.heading, 15)
    pages.set_y(pages.get_y() + 2)
    facts = {**payload, "period": _times(payload["period"])}
    lines = _labelled(
        facts, date="Date:", period="Period:", corrects="Corrects invoice:", due="Due:"
    )
    pages.text_block("\n".join(lines))
    pages.set_y(pages.get_y() + 4)


def _lines(pages: _Pages) -> None:
    payload = pages.payload
    priced = payload["currency"] is not None
    pages.set_font(letters.FAMILY, size=9)
    pages.row(("", "Description", "Quantity", f"Amount {payload['currency']}" if priced else ""))
    pages.rule()
    carried = Decimal(0)
    for line in payload["lines"]:
        text = f"{line['description']}\n{_times(line)}"
        if line["tax"]:
            text += f" · {line['tax']}"
        amount = line["amount"] or ""
        pages.room(pages.height(text) + 2 * LINE, carried if priced and carried else None)
        pages.row((str(line["n"]), text, f"{line['quantity']} {line['unit']}".strip(), amount))
        pages.set_y(pages.get_y() + 1)
        if priced:
            carried += Decimal(line["amount"])
    pages.rule()


def _sums(pages: _Pages) -> None:
    payload = pages.payload
    rows = []
    if payload["currency"] is not None:
        rows.append(("Subtotal", payload["subtotal"]))
        rows += [
            (f"{tax['name']} {tax['percent']} % on {tax['net']}", tax["amount"])
            for tax in payload["taxes"]
        ]
        if Decimal(payload["credits"]):
            rows.append(("Paid from prepaid credit", f"-{payload['credits']}"))
        rows.append((f"Total {payload['currency']}", payload["total"]))
    pages.room((len(rows) + 1) * LINE, None)
    for name, amount in rows:
        pages.row(("", name, "", amount))
    pages.set_y(pages.get_y() + 6)
    for note in payload["notes"]:
        pages.set_font(letters.FAMILY, size=8)
        pages.room(pages.height(note), None)
        pages.text_block(note, 8)
