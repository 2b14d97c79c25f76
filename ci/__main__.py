"""`python -m ci` by any Python 3.11 or newer: ci's own environment does the work."""

import importlib
import os
import sys
from pathlib import Path

from ci import environments


def main() -> int:
    """The exit code of the command."""
    own = Path(__file__).parent / ".venv"
    python = environments.python_of(own.parent)
    if Path(sys.prefix).resolve() != own.resolve():
        if python.exists():
            os.execv(python, [str(python), "-m", "ci", *sys.argv[1:]])  # noqa: S606 (no shell is meant)
        print("ci's environment is not made yet; `make ci` makes it", file=sys.stderr)
        return 4
    if not (own / environments.STAMP).exists():  # made this moment, or half made and interrupted
        if exit_code := environments.main():
            return exit_code
        importlib.invalidate_caches()
    return int(importlib.import_module("ci.cli").main())  # needs what that environment holds


sys.exit(main())
