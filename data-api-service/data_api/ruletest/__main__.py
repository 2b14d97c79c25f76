"""`python -m data_api.ruletest FILE… [--run PATTERN]`: unit tests of rules.

The format is that of `promtool test rules`. What was wanted and what came is printed; 0 when all
succeeded, 1 when one failed, 2 when a file cannot be read.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from data_api.ruletest import run, suite


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; what went wrong is printed."""
    parser = argparse.ArgumentParser(prog="python -m data_api.ruletest", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--run", default="", metavar="PATTERN", help="only tests whose name fits")
    given = parser.parse_args(arguments)
    code = 0
    for file in given.files:
        sys.stdout.write(f"Unit Testing:  {file}\n")
        try:
            read = suite.read(file)
            cases = [case for case in read.cases if re.search(given.run, case.name)]
        except (suite.BadSuite, OSError, re.error) as error:
            sys.stderr.write(f"  FAILED:\n{error}\n")
            return 2
        wrong = []
        for case in cases:
            name = f"    name: {case.name},\n" if case.name else ""
            wrong += [name + problem for problem in run.problems(read, case)]
        lines = ["  FAILED:", *wrong] if wrong else ["  SUCCESS"]
        sys.stdout.write("\n".join(lines) + "\n\n")
        code = 1 if wrong else code
    return code


if __name__ == "__main__":
    sys.exit(main())
