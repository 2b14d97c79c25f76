"""How a text is written into a slot, so that every reader reads that text and not a number.

A slot keeps its quotes. A bare slot stays bare while nobody can mistake the text; the rules are the
union of YAML 1.1, 1.2 and what go-yaml, PyYAML and ruamel do beyond them, because the file is read
by Helm, Argo CD and Python alike. Helm 4 prints an unquoted 0123 as 83, 1234567 as 1.234567e+06 and
1.20 as 1.2.
"""

import re

# What an image, a tag or a digest is made of; anything else is quoted without a second thought.
BARE = re.compile(r"[A-Za-z0-9_./@][A-Za-z0-9_./@:+-]*")
WORDS = frozenset(
    {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nil", "none"}
    | {"nan", "inf", "infinity", ".nan", ".inf", ".", "..", "...", "~", "=", "<<"}
)
NUMBERS = re.compile(
    r"""[-+]?(
      0x[0-9a-f.]*(p[-+]?[0-9]+)?                  # 0x10, and Go's 0x1p-2
    | 0o?[0-7]*                                    # 0123 is 83, 0o17 is 15
    | 0b[01]*
    | [0-9]+\.?[0-9]*(e[-+]?[0-9]*)?               # 41, 1.20, 7e3, 12e4567, 00e1
    | \.[0-9]+(e[-+]?[0-9]*)?
    | [0-9]+(:[0-9]+)+(\.[0-9]*)?                  # 12:30:45 counts seconds
    | \.?(inf|infinity|nan)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt].*)?")
NULLS = frozenset({"", "~", "null", "Null", "NULL"})


def is_ambiguous(text: str) -> bool:
    """Whether some reader takes the bare `text` for anything but this text."""
    lean = text.replace("_", "")  # digits may be grouped by underscores: 1_000
    return (
        not BARE.fullmatch(text)
        or text.endswith(":")
        or lean.lower() in WORDS
        or not lean
        or bool(NUMBERS.fullmatch(lean))
        or bool(DATE.fullmatch(text))
    )


def is_null(text: str, style: str) -> bool:
    """Whether a scalar holds nothing: unwritten, `~`, `null`, or empty quotes."""
    return text in NULLS if not style else not text


def quoted(text: str, style: str) -> str:
    """`text` in the quotes `style`, which is `'` or `"`."""
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
