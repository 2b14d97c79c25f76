"""The trailers of a commit message: `Key: value` lines of its last paragraph. PURE."""

import re

TRAILER = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9-]*):[ \t]*(?P<value>.*)")


def trailers_of(text: str) -> list[tuple[str, str]]:
    """(key, value) of the last paragraph of a commit message; lines that are none are left out.

    A folded line belongs to the one before. A message of one paragraph has no trailers.
    """
    paragraphs = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").strip("\n \t"))
    if len(paragraphs) < 2:
        return []
    trailers: list[tuple[str, str]] = []
    for line in paragraphs[-1].split("\n"):
        if line[:1] in {" ", "\t"} and trailers:
            key, value = trailers[-1]
            trailers[-1] = (key, f"{value} {line.strip()}".strip())
        elif match := TRAILER.fullmatch(line):
            trailers.append((match["key"], match["value"].strip()))
    return trailers
