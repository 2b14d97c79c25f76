"""The virtual environments of the services, made from their hashed locks and stamped with them.

uv makes them, all at once; it is given what pip is configured with, so a machine that reaches its
packages through pip's settings (a mirror, a certificate, a folder of wheels) needs no second set.
Where uv cannot, pip does the same from the same lock. A current environment costs one file read;
of commands that want the same one at the same time, one makes it and the others wait.
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
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Literal

from ci import process
from ci.errors import CiError, OutsideFault
from ci.screen import Screen

Lock = Literal["requirements.txt", "requirements-dev.txt"]
RUNTIME: Lock = "requirements.txt"
DEV: Lock = "requirements-dev.txt"
STAMP = ".cloudopshub.json"
WAIT_S, POLL_S = 1200.0, 0.2


def python_of(folder: Path) -> Path:
    """The interpreter of the folder's environment."""
    return folder / ".venv" / "bin" / "python"


def fingerprint(lock: bytes, python_version: str) -> str:
    """What an environment made of `lock` for that Python is stamped with."""
    return hashlib.sha256(python_version.encode() + b"\0" + lock).hexdigest()


def wanted_lock(folder: Path, lock: Lock) -> Lock | None:
    """Which lock the folder's environment must be made of; None when it already serves.

    An environment with the development tools serves a run as well, and stays one when it is remade.
    """
    try:
        stamp: dict[str, str] = json.loads((folder / ".venv" / STAMP).read_text())
    except (OSError, ValueError):
        stamp = {}
    if not python_of(folder).exists():
        stamp = {}
    version = platform.python_version()
    current = {
        name: fingerprint((folder / name).read_bytes(), version)
        for name in (RUNTIME, DEV)
        if (folder / name).exists()
    }
    if stamp.get(lock) == current[lock]:
        return None
    return DEV if DEV in stamp else lock


async def make(root: Path, folders: Iterable[str], lock: Lock, screen: Screen) -> None:
    """Each of `folders` has an environment that holds what `lock` names; made ones are shown."""
    try:
        async with screen.ticking(), asyncio.TaskGroup() as group:
            for name in folders:
                group.create_task(make_one(root, name, lock, screen))
    except* CiError as errors:
        raise errors.exceptions[0] from None


async def make_one(root: Path, name: str, lock: Lock, screen: Screen) -> None:
    """The folder `name` has an environment that holds what `lock` names."""
    folder = root / name
    if wanted_lock(folder, lock) is None:
        return
    with screen.step(f"{name}: environment"):
        screen.detail(f"{name}: environment", "another command makes it")
        async with _alone(root / ".cache" / "environments" / name):
            screen.detail(f"{name}: environment", "")
            if wanted := wanted_lock(folder, lock):  # unless another has made it
                stamp = folder / ".venv" / STAMP
                stamp.unlink(missing_ok=True)
                if not await _made_by_uv(folder, wanted, screen):
                    await _made_by_pip(folder, wanted)
                version = platform.python_version()
                # the development set contains the runtime set
                locks = (RUNTIME, DEV) if wanted == DEV else (RUNTIME,)
                prints = {n: fingerprint((folder / n).read_bytes(), version) for n in locks}
                stamp.write_text(json.dumps(prints))


@contextlib.asynccontextmanager
async def _alone(file: Path) -> AsyncIterator[None]:
    """No other process is in a block on the same `file`; `OutsideFault` when one does not leave.

    On a file system without locks a block is nobody's alone.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as opened:
        try:
            async with asyncio.timeout(WAIT_S):
                while not _locked(opened.fileno()):  # noqa: ASYNC110 - another process tells no event
                    await asyncio.sleep(POLL_S)
        except TimeoutError as exc:
            raise OutsideFault(f"{file}: another command holds it for {WAIT_S:g} s") from exc
        yield


def _locked(descriptor: int) -> bool:
    """Whether this process holds the lock now; the kernel lets go of it with the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return True


async def _made_by_uv(folder: Path, lock: Lock, screen: Screen) -> bool:
    env = os.environ | uv_settings(pip_settings(), os.environ)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        return False
    if not await _serves(python_of(folder)):
        command = [uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder / ".venv")]
        if (await process.run_async(command, env=env)).code != 0:
            return False
    command = [uv, "pip", "sync", "-q", "--python", str(python_of(folder)), "--require-hashes"]
    done = await process.run_async([*command, str(folder / lock)], cwd=folder, env=env)
    if done.code != 0:
        screen.line(f"  {folder.name}: uv could not ({done.last_lines(1).strip()}); trying pip")
    return done.code == 0


async def _made_by_pip(folder: Path, lock: Lock) -> None:
    python = str(python_of(folder))
    if await _serves(Path(python)):  # perhaps in use: never cleared; one that uv made has no pip
        begin = [python, "-m", "ensurepip"]
    else:
        begin = [sys.executable, "-m", "venv", "--clear", str(folder / ".venv")]
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    for command in (begin, [*install, "--require-hashes", "-r", lock]):
        done = await process.run_async(command, cwd=folder)
        if done.code != 0:
            hint = "its settings: pip config list"
            raise OutsideFault(f"{folder.name}: no environment ({hint}):\n{done.last_lines()}")


async def _serves(python: Path) -> bool:
    """Whether that interpreter is there, runs, and is the version that runs us."""
    if shutil.which(python) is None:
        return False
    done = await process.run_async(
        [python, "-c", "import platform as p; print(p.python_version())"]
    )
    return done.code == 0 and done.stdout.strip() == platform.python_version()


@functools.cache
def pip_settings() -> dict[str, list[str]]:
    """What `pip config list` tells, by option: files first, then the environment, as in pip."""
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}"
    for python in (sys.executable, base):  # an environment made by uv has no pip of its own
        done = process.run([python, "-m", "pip", "config", "list"], timeout_s=60)
        if done.code == 0:
            return parse_pip_config(done.stdout)
    return {}


def parse_pip_config(text: str) -> dict[str, list[str]]:
    """`global.index-url='https://…'` lines → option → values; later sections win over earlier."""
    weights = {"global": 0, "install": 1, ":env:": 2}
    options: dict[str, tuple[int, list[str]]] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(.+)", line.strip())
        if match is None:
            continue
        section, option, quoted = match.groups()
        values = " ".join(shlex.split(quoted)).replace("\\n", " ").split()
        if option not in options or weights[section] >= options[option][0]:
            options[option] = (weights[section], values)
    return {option: values for option, (_, values) in options.items()}


def uv_settings(pip: Mapping[str, list[str]], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of uv that say what pip's settings say; one that is set already stays."""
    names = {
        "UV_DEFAULT_INDEX": pip.get("index-url", [])[-1:],
        "UV_INDEX": pip.get("extra-index-url", []),
        "UV_FIND_LINKS": pip.get("find-links", []),
        "UV_INSECURE_HOST": pip.get("trusted-host", []),
        "UV_HTTP_TIMEOUT": pip.get("default-timeout", pip.get("timeout", [])),
        "SSL_CERT_FILE": pip.get("cert", [])[-1:],
        "UV_NO_INDEX": ["1"] if pip.get("no-index", ["0"])[-1].lower() in {"1", "true"} else [],
    }
    # pip takes the best version of all indexes; hashes decide what may be installed
    fixed = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "1"}
    variables = {
        name: ("," if name == "UV_FIND_LINKS" else " ").join(values)
        for name, values in names.items()
        if values
    }
    return {name: value for name, value in (fixed | variables).items() if name not in environ}
