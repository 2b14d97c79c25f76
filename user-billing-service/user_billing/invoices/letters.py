"""FiraGO for documents: a small font that most pages need, and the rest of it. Pure.

Loading and cutting the whole font costs 0.2 s a document; the small one 20 ms. Both are made once a
process. Arabic is joined here, from Unicode's own presentation forms, since a PDF has glyphs, not
letters; right-to-left text is put into the order in which it is seen.
"""

import io
import unicodedata
from functools import cache
from typing import Final

import pymupdf_fonts
from fontTools import subset, ttLib
from fpdf import FPDF
from fpdf.bidi import BidiParagraph
from fpdf.fonts import TTFFont

FAMILY: Final = "figo"
REST: Final = "figorest"
SMALL: Final = frozenset(range(0x20, 0x180)) | frozenset(range(0x2010, 0x2040)) | {0x20AC, 0x2212}
_FORMS: Final = ("<isolated>", "<final>", "<initial>", "<medial>")


@cache
def _forms() -> dict[str, dict[str, str]]:
    """Arabic letter → its glyph by form."""
    result: dict[str, dict[str, str]] = {}
    for code in range(0xFE70, 0xFEFD):
        form, *letters = unicodedata.decomposition(chr(code)).split() or ("",)
        if form in _FORMS and len(letters) == 1:
            result.setdefault(chr(int(letters[0], 16)), {})[form] = chr(code)
    return result


def _joined(text: str) -> str:
    forms = _forms()
    result = []
    for place, letter in enumerate(text):
        before = forms.get(text[place - 1], {}) if place else {}
        after = forms.get(text[place + 1], {}) if place + 1 < len(text) else {}
        mine = forms.get(letter, {})
        joins_before = "<initial>" in before and "<final>" in mine
        joins_after = "<initial>" in mine and "<final>" in after
        result.append(mine.get(_FORMS[joins_before + 2 * joins_after], letter))
    return "".join(result)


def visual(text: str) -> str:
    """The text as glyphs from left to right, line by line; what has no letters right to left is
    unchanged.
    """
    if not any(unicodedata.bidirectional(letter) in {"R", "AL"} for letter in text):
        return text
    lines = (_joined(line) for line in text.splitlines())
    return "\n".join(BidiParagraph(line).get_reordered_string() if line else "" for line in lines)


@cache
def _font(name: str) -> bytes:
    whole = ttLib.TTFont(io.BytesIO(pymupdf_fonts.myfont(FAMILY)), recalcTimestamp=False)
    wanted = SMALL if name == FAMILY else whole.getBestCmap().keys() - SMALL
    options = subset.Options()
    options.layout_features = []
    options.hinting = False
    options.notdef_outline = True
    options.drop_tables += ["GPOS", "GSUB", "GDEF"]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=wanted)
    cutter.subset(whole)
    stream = io.BytesIO()
    whole.save(stream)
    return stream.getvalue()


def use(pdf: FPDF, text: str) -> None:
    """`pdf` can print `text`, which is everything that it will print."""
    names = [FAMILY] if all(ord(letter) in SMALL or letter == "\n" for letter in text) else [
        FAMILY, REST
    ]  # fmt: skip
    for name in names:
        pdf.fonts[name] = TTFFont(pdf, io.BytesIO(_font(name)), name, "")  # type: ignore[arg-type] # fpdf hands it to TTFont, which reads files too
    if REST in names:
        pdf.set_fallback_fonts([REST])
