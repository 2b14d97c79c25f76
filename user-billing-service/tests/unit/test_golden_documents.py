"""Documents are those of tests/golden, to the letter."""

import json

import pytest
from golden_documents import FOLDER, documents, words

from user_billing.invoices import payload, pdf

DOCUMENTS = documents()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_the_golden_ones(name):
    """The JSON byte for byte, the pages by their text, and pages twice the same bytes."""
    text = payload.text(DOCUMENTS[name])
    assert text + "\n" == (FOLDER / f"{name}.json").read_text()
    pages = pdf.render(json.loads(text))
    assert words(pages) == (FOLDER / f"{name}.txt").read_text()
    assert pdf.render(json.loads(text)) == pages


@pytest.mark.parametrize("name", DOCUMENTS)
def test_pages_have_every_number_of_the_json(name):
    """Nothing is computed or rounded for the page."""
    document, text = DOCUMENTS[name], (FOLDER / f"{name}.txt").read_text()
    for key in ("number", "date", "subtotal", "total"):
        assert document[key] in text
    for line in document["lines"]:
        assert line["amount"] in text
    for tax in document["taxes"]:
        assert f"{tax['name']} {tax['percent']} % on {tax['net']} {tax['amount']}" in text


def test_carried_totals_are_the_sum_of_the_pages_before():
    """What is carried forward is brought forward, and sums the lines above."""
    pages = (FOLDER / "two_pages.txt").read_text().split("\n----\n")
    carried = next(line for line in pages[0].splitlines() if line.startswith("Carried forward"))
    brought = next(line for line in pages[1].splitlines() if line.startswith("Brought forward"))
    on_page = [line for line in DOCUMENTS["two_pages"]["lines"] if line["amount"] in pages[0]]
    amount = carried.split()[-1]
    assert amount == brought.split()[-1]
    numbers = [int(line["n"]) for line in on_page if f"number {line['n']}\n" in pages[0]]
    assert amount == f"{sum(numbers) / 100:.2f}"
