"""What is inside an image, by syft: CycloneDX JSON, from the engine, offline."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci import process
from ci.errors import Defect, OutsideFault

TIMEOUT_S = 300.0
# syft takes the launchers that pip carries for Windows for .NET packages
LEFT_OUT = "-dotnet-portable-executable-cataloger"


def argv(image: str, name: str, version: str, file: Path) -> list[str]:
    """The command line of syft for an image that the engine holds."""
    beside = shutil.which("syft", path=str(Path(sys.executable).parent))
    return [
        *(beside or "syft", "scan", f"docker:{image}", "--quiet"),
        *("--source-name", name, "--source-version", version),
        *("--select-catalogers", LEFT_OUT, "--output", f"cyclonedx-json={file}"),
    ]


def write(argv: Sequence[str], file: Path, environ: Mapping[str, str]) -> int:
    """The SBOM that `argv` makes is in `file`; how many packages it lists. `Defect` when none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    quiet = {**process.without_secrets(environ), "SYFT_CHECK_FOR_APP_UPDATE": "false"}
    done = process.run(argv, env=quiet, timeout_s=TIMEOUT_S)
    if done.code != 0:
        raise OutsideFault(f"syft makes no {file.name}:\n{done.last_lines()}")
    components = json.loads(file.read_text(encoding="utf-8")).get("components", [])
    packages = sum(1 for component in components if component.get("type") == "library")
    if not packages:
        raise Defect(f"{file.name}: syft found no package in the image")
    return packages
