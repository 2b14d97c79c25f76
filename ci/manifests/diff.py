"""What an edit changed, as people read it."""

import difflib
import re

LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
NO_NEWLINE = "\\ No newline at end of file\n"


def unified(old: bytes, new: bytes, name: str) -> str:
    """The unified diff of two UTF-8 files as git prints it; empty when they are equal.

    A lone carriage return is shown as a line's end, since a terminal would write over the line.
    """
    before, after = (LINES.findall(content.decode()) for content in (old, new))
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", n=3)
    return "".join(map(_shown, lines))


def _shown(line: str) -> str:
    if line.endswith("\n"):
        return line
    if line.endswith("\r"):
        return line[:-1] + "\n"
    return f"{line}\n{NO_NEWLINE}"
