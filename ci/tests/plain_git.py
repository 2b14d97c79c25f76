"""Git as tests use it: one identity, nothing of the machine's configuration."""

import os
import subprocess


def git(folder, *argv, given=None, **environ):
    """What one git command prints, when it ends well."""
    identity = {
        f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *argv], cwd=folder, env=env | identity | environ, input=given,
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"git {argv}: {done.stderr}"
    return done.stdout.strip()
