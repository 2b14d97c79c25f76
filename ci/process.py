"""The one place where `ci` runs another program to its end: argument lists, no shell, bounded."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.errors import CiError, OutsideFault

PRIVATE = "cloudopshub-ci-"  # how temporary folders of ours begin
# What opens the manifest repository, signs its commits, or opens the registry.
MANIFEST_SECRETS = frozenset(
    {"MANIFEST_REPO_USR", "MANIFEST_REPO_PSW", "MANIFEST_REPO_SSH_KEY", "COMMIT_SIGNING_KEY"}
)
AWS_SECRETS = frozenset(
    {
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
        *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    }
)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` for a program that delivers nothing: a test, a linter."""
    secret = MANIFEST_SECRETS | AWS_SECRETS
    return {name: value for name, value in environ.items() if name not in secret}


@dataclass(frozen=True)
class Done:
    """A program that ended. stdout: what it answered; a warning of it is in stderr, never there."""

    code: int
    stdout: str
    stderr: str = ""

    @property
    def text(self) -> str:
        """All it wrote, its complaints last."""
        return f"{self.stdout.strip()}\n{self.stderr.strip()}".strip()

    def good(self, what: str, error: type[CiError] = OutsideFault, **facts: Any) -> str:
        """What it answered; `error` that says `what`, and its last lines, when it failed."""
        if self.code != 0:
            text = f"{what} ({self.code}):\n{self.last_lines()}"
            raise error(text, **facts)
        return self.stdout

    def last_lines(self, count: int = 15) -> str:
        """The end of both, where the reason of a failure stands."""
        streams = (self.stdout, self.stderr)
        return "\n".join(row for text in streams for row in text.strip().splitlines()[-count:])


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 600,
    given: bytes = b"",
) -> Done:
    """As `run_async`, for who has nothing else to do meanwhile."""
    return asyncio.run(run_async(argv, cwd=cwd, env=env, timeout_s=timeout_s, given=given))


async def run_async(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 1800,
    given: bytes = b"",
) -> Done:
    """`argv` has run to its end, `given` on its stdin; `OutsideFault` when not there or too slow.

    A cancelled or overdue program is killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(str(word) for word in argv),
            cwd=cwd,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                streams = await process.communicate(given)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    except TimeoutError as exc:
        raise OutsideFault(f"{argv[0]}: did not end within {timeout_s:g} s") from exc
    except OSError as exc:
        why = "not found" if isinstance(exc, FileNotFoundError) else exc.strerror
        raise OutsideFault(f"{argv[0]}: {why}") from exc
    stdout, stderr = (text.decode(errors="replace") for text in streams)
    return Done(process.returncode or 0, stdout, stderr)
