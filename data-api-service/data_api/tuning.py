"""How the interpreter and the C library serve a process that computes queries."""

import contextlib
import ctypes
import gc
import sys
from typing import Final

SWITCH_INTERVAL_S: Final = 0.0005
"""After so long in Python code a thread lets others go on, should they wait: the event loop, which
needs it a dozen times for each request, beside threads that build label sets."""
FULL_COLLECTIONS: Final = 1000
"""Garbage collections of the middle generation before one of all objects, which stands still for
all: 100 ms where a query holds 100,000 label sets. What a query makes has no cycles."""
MALLOC: Final = {
    "M_MMAP_THRESHOLD": (-3, 32 << 20),
    "M_TRIM_THRESHOLD": (-1, 128 << 20),
    "M_TOP_PAD": (-2, 16 << 20),
}
"""glibc's: number and bytes. Arrays of one query lie where those of the last one lay, so that no
page is new: otherwise a third of a query over two million samples is the system giving pages
(docs/adr/0053-answers-again.md). What lies unused is given back all the same (ADR 50)."""


def tune() -> None:
    """This process is set up so; with another libc than glibc its memory is as it was."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(700, 10, FULL_COLLECTIONS)
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in MALLOC.values():
            mallopt(parameter, value)
