"""`python -m data_api.promqltest PATH… [--class CLASS] [--json]`: which evals of scripts failed.

PATH: files, or folders of `*.test`. Ends with `N passed, M failed`; 0 when none failed, 1 when some
did, 2 when a script cannot be read.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from data_api.promqltest.outcomes import CLASSES, run_script
from data_api.promqltest.script import BadScript


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; what went wrong is printed."""
    parser = argparse.ArgumentParser(prog="python -m data_api.promqltest", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--class", dest="kind", choices=CLASSES, help="only evals of this class")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    given = parser.parse_args(arguments)
    try:
        outcomes = [
            outcome
            for path in given.paths
            for script in (sorted(path.rglob("*.test")) if path.is_dir() else [path])
            for outcome in run_script(script)
            if given.kind in {None, outcome.kind}
        ]
    except (BadScript, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    failed = [outcome for outcome in outcomes if outcome.problem is not None]
    if given.json:
        report = {"passed": len(outcomes) - len(failed), "failed": len(failed)}
        evals = [asdict(outcome) for outcome in outcomes]
        sys.stdout.write(json.dumps(report | {"evals": evals}) + "\n")
    else:
        for outcome in failed:
            where = f"{outcome.file}:{outcome.line}"
            sys.stdout.write(f"{where}: {outcome.query}\n    {outcome.problem}\n")
        sys.stdout.write(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
