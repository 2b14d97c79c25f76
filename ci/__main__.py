"""`python -m ci` by any Python 3.11 or newer: ci's own environment does the work."""

import os
import sys
from pathlib import Path


def main() -> int:
    """The exit code of the command."""
    own = Path(__file__).parent / ".venv"
    python = own / "bin" / "python"
    if Path(sys.prefix).resolve() != own.resolve() and python.exists():
        os.execv(python, [str(python), "-m", "ci", *sys.argv[1:]])  # noqa: S606 (no shell is meant)
    try:
        from ci.cli import main as cli_main  # noqa: PLC0415 (needs what that environment holds)
    except ModuleNotFoundError as missing:
        print(f"{missing}: ci's environment is not made yet; `make ci` makes it", file=sys.stderr)
        return 4
    return cli_main()


sys.exit(main())
