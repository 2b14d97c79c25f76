"""What a person sees while things happen: named steps, how long they take, never a silent wait."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TextIO

QUIET_S_MAX = 10.0  # without a terminal, a line at least this often while something is under way
CLEAR_LINE = "\r\x1b[2K"


@dataclass
class Screen:
    """Lines and, on a terminal, one live line under them. A lost terminal is no error here."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)
    colour: bool = True
    _under_way: dict[str, float] = field(default_factory=dict)
    _detail: dict[str, str] = field(default_factory=dict)
    _live: bool = False
    _said_at: float = field(default_factory=time.monotonic)

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches."""
        return self.stream.isatty()

    def paint(self, text: str, code: str) -> str:
        """`text` in the ANSI colour `code`, where colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and self.is_terminal else text

    def line(self, text: str = "") -> None:
        """Print `text` on its own line, above the live one."""
        self._write((CLEAR_LINE if self._live else "") + text + "\n")
        self._live = False
        self._said_at = time.monotonic()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show `name` as under way during the block, and with its duration once done."""
        began = self._under_way[name] = time.monotonic()
        try:
            yield
        finally:
            self._under_way.pop(name, None)
            self._detail.pop(name, None)
        self.line(f"  {self.paint('✓', '32')} {name}  {time.monotonic() - began:.1f} s")

    def detail(self, name: str, text: str) -> None:
        """Say what the step `name` is waiting for."""
        self._detail[name] = text

    @contextlib.asynccontextmanager
    async def ticking(self) -> AsyncIterator[None]:
        """Keep the live line moving during the block."""
        ticker = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
            if self._live:
                self._write(CLEAR_LINE)
                self._live = False

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            now, waits = time.monotonic(), []
            for name, began in self._under_way.items():
                detail = f" ({self._detail[name]})" if self._detail.get(name) else ""
                waits.append(f"{name} {now - began:.0f} s{detail}")
            if waits and self.is_terminal:
                with contextlib.suppress(OSError):
                    width = os.get_terminal_size(self.stream.fileno()).columns
                    self._write(CLEAR_LINE + f"  … {' · '.join(waits)}"[: width - 1])
                    self._live = True
            elif waits and now - self._said_at > QUIET_S_MAX:
                for wait in waits:
                    self.line(f"  … {wait}")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()
