"""What a person sees while things happen: named steps, and how long they took."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO


@dataclass
class Screen:
    """Lines on a stream. A terminal that is gone is no error here."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    colour: bool = True

    @property
    def has_colours(self) -> bool:
        """Whether a person watches who wants them."""
        return self.colour and self.stream.isatty()

    def paint(self, text: str, code: str) -> str:
        """`text` in the ANSI colour `code`, where colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_colours else text

    def line(self, text: str = "") -> None:
        """Print `text` on its own line."""
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(f"{text}\n")
            self.stream.flush()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say that `name` begins, and how long it took once done."""
        began = time.monotonic()
        self.line(f"  … {name}")
        yield
        self.line(f"  {self.paint('✓', '32')} {name}  {time.monotonic() - began:.1f} s")
