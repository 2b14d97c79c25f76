"""The virtual environments of the folders, made from their hashed locks and stamped with them.

uv makes them, one after the other, told what pip is configured with: a mirror, a certificate, a
folder of wheels. Where uv is not yet there (ci's own, made by `ci/bootstrap`) pip does the same.
Of commands that want the same environment at the same time one makes it, and the others wait.
"""

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from ci import process
from ci.errors import CiError, OutsideFault
from ci.screen import Screen

Lock = Literal["requirements.txt", "requirements-dev.txt"]
RUNTIME: Lock = "requirements.txt"
DEV: Lock = "requirements-dev.txt"  # contains the runtime set
STAMP = ".cloudopshub.json"
WAIT_S, POLL_S = 1200.0, 0.2
# What the first has fetched is in uv's cache for the others: their files are the same ones, so that
# memory has the pages once; four cold ones take 33 s, and all at once 106 s (ADR 50).
FILLING = asyncio.Lock()


def python_of(folder: Path) -> Path:
    """The interpreter of the folder's environment."""
    return folder / ".venv" / "bin" / "python"


def fingerprint(lock: Path) -> str:
    """What an environment made of the file `lock` is stamped with; another for another Python."""
    version = platform.python_version().encode()
    return hashlib.sha256(version + b"\0" + lock.read_bytes()).hexdigest()


def wanted_lock(folder: Path, lock: Lock) -> Lock | None:
    """Which lock the folder's environment must be made of; None when it already serves.

    An environment with the development tools serves a run as well, and stays one when it is remade.
    """
    stamp: dict[str, str] = {}
    if python_of(folder).exists():
        with contextlib.suppress(OSError, ValueError):
            stamp = json.loads((folder / ".venv" / STAMP).read_text())
    if stamp.get(lock) == fingerprint(folder / lock):
        return None
    return DEV if DEV in stamp else lock


async def make(root: Path, folders: Iterable[str], lock: Lock, screen: Screen) -> None:
    """Each of `folders` has an environment that holds what `lock` names; made ones are shown."""
    for name in folders:
        await make_one(root, name, lock, screen)


async def make_one(root: Path, name: str, lock: Lock, screen: Screen) -> None:
    """The folder `name` has an environment that holds what `lock` names."""
    folder, step = root / name, f"{name}: environment"
    if wanted_lock(folder, lock) is None:
        return
    wait = f"  {step}: another command makes it; waiting for that"
    with screen.step(step):
        async with _alone(root / ".cache" / "environments" / name, lambda: screen.line(wait)):
            wanted = wanted_lock(folder, lock)
            if wanted is None:  # another has made it
                return
            stamp = folder / ".venv" / STAMP
            stamp.unlink(missing_ok=True)
            await _fill(folder, wanted)
            locks = (RUNTIME, DEV) if wanted == DEV else (RUNTIME,)
            stamp.write_text(json.dumps({name: fingerprint(folder / name) for name in locks}))


@contextlib.asynccontextmanager
async def _alone(file: Path, say_waiting: Callable[[], None]) -> AsyncIterator[None]:
    """No other process is in a block on the same `file`; the kernel ends the lock of a dead one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        for turn in range(int(WAIT_S / POLL_S)):
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if turn == 0:
                    say_waiting()
                await asyncio.sleep(POLL_S)
        else:
            raise OutsideFault(f"{file}: another command holds it for {WAIT_S:g} s")
        yield


async def _fill(folder: Path, lock: Lock) -> None:
    """The environment holds what `lock` names; one that serves, perhaps a run, is not cleared."""
    environment, python = str(folder / ".venv"), str(python_of(folder))
    env: Mapping[str, str] | None = None
    if uv := shutil.which("uv", path=str(Path(sys.executable).parent)):
        begin = [uv, "venv", "-q", "--clear", "--python", sys.executable, environment]
        fill = [uv, "pip", "sync", "-q", "--python", python, "--require-hashes", lock]
        env = os.environ | uv_settings(await asyncio.to_thread(pip_settings), os.environ)
    else:
        begin = [sys.executable, "-m", "venv", "--clear", environment]
        fill = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        fill += ["--require-hashes", "-r", lock]
    async with FILLING:
        for command in [fill] if await _serves(python) else [begin, fill]:
            done = await process.run_async(command, cwd=folder, env=env)
            hints = "its settings: pip config list; on Debian: apt install python3-venv"
            done.good(f"{folder.name}: no environment; {hints}")


async def _serves(python: str) -> bool:
    """Whether that interpreter is there, runs, and is the version that runs us."""
    if shutil.which(python) is None:
        return False
    tell = "import platform; print(platform.python_version())"
    done = await process.run_async([python, "-c", tell])
    return done.stdout.strip() == platform.python_version()


@functools.cache
def pip_settings() -> dict[str, list[str]]:
    """What `pip config list` tells, by option."""
    base = f"{sys.base_prefix}/bin/python{sys.version_info.major}"
    for python in (sys.executable, base):  # an environment made by uv has no pip of its own
        done = process.run([python, "-m", "pip", "config", "list"], timeout_s=60)
        if done.code == 0:
            return parse_pip_config(done.stdout)
    return {}


def parse_pip_config(text: str) -> dict[str, list[str]]:
    """`global.index-url='https://…'` lines → option → values, weighed as pip weighs them."""
    sections = ("global", "install", ":env:")  # the later wins
    lines = re.findall(r"^\s*(global|install|:env:)\.([\w-]+)=(.+)$", text, re.MULTILINE)
    return {
        option: " ".join(shlex.split(quoted)).replace("\\n", " ").split()
        for _, option, quoted in sorted(lines, key=lambda line: sections.index(line[0]))
    }


def uv_settings(pip: Mapping[str, list[str]], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of uv that say what pip's settings say; one that is set already stays."""
    no_index = pip.get("no-index", ["0"])[-1].lower() in {"1", "true"}
    variables = {
        "UV_DEFAULT_INDEX": " ".join(pip.get("index-url", [])[-1:]),
        "UV_INDEX": " ".join(pip.get("extra-index-url", [])),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", [])),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", [])),
        "UV_HTTP_TIMEOUT": " ".join(pip.get("default-timeout", pip.get("timeout", []))),
        "SSL_CERT_FILE": " ".join(pip.get("cert", [])[-1:]),
        "UV_NO_INDEX": "1" if no_index else "",
        # pip takes the best version of all indexes; hashes decide what may be installed
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_NO_CONFIG": "1",
    }
    return {name: text for name, text in variables.items() if text and name not in environ}


def main() -> int:
    """Ci's own environment is there, made by the Python that runs this; the exit code."""
    screen = Screen(stream=sys.stderr)
    try:
        asyncio.run(make(Path(__file__).resolve().parents[1], ["ci"], RUNTIME, screen))
    except CiError as error:
        screen.line(f"\n{error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
