"""The Docker engine, by its command line: build, inspect, push. Every call is bounded."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci import process
from ci.errors import Defect, OutsideFault
from ci.model import DIGEST
from ci.process import Done
from ci.tools.ecr import Login

BUILD_S, PUSH_S, SHORT_S = 1800.0, 900.0, 60.0
PUSHED = re.compile(rf"digest: ({DIGEST.pattern}) size: \d+")
LOGINS = Path(__file__).with_name("registry_login")


class Docker:
    """One engine, as `environ` (DOCKER_HOST, …) names it; `root` is where builds start."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        # AWS's own stay: a credential helper may need them for a base image
        passed_on = {name: environ[name] for name in environ.keys() - process.MANIFEST_SECRETS}
        self._environ = {**passed_on, "DOCKER_BUILDKIT": "1", "DOCKER_CLI_HINTS": "false"}

    def call(self, argv: Sequence[str], timeout_s: float = SHORT_S) -> Done:
        """One docker command line to its end, whatever it says."""
        return process.run(argv, cwd=self._root, env=self._environ, timeout_s=timeout_s)

    def good(self, argv: Sequence[str], timeout_s: float = SHORT_S) -> str:
        """What a command line that must succeed says; `OutsideFault` when it does not."""
        return self.call(argv, timeout_s).good(f"{' '.join(argv[:3])} failed")

    def build(self, argv: Sequence[str]) -> None:
        """The image is built; `Defect` with the end of the log when it cannot be."""
        done = self.call(argv, BUILD_S)
        is_outside = "Cannot connect to the Docker daemon" in done.stderr
        done.good(f"{argv[-1]}: the image cannot be built", OutsideFault if is_outside else Defect)

    def inspect(self, name: str) -> dict[str, Any] | None:
        """The image as the engine has it; None when it has none of that name."""
        done = self.call(["docker", "image", "inspect", name])
        if done.code != 0 and "No such image" in done.stderr:
            return None
        image: dict[str, Any] = json.loads(done.good(f"docker image inspect {name} failed"))[0]
        return image

    def logged_in(self, login: Login) -> "Docker":
        """The engine with a login that is in the environment of its calls, and nowhere else.

        `docker login` would write it to a file, or into a keyring of the user's, which outlive a
        run that is killed. A program beside config.json hands it to docker; ~/.docker is not used.
        """
        said = {"ServerURL": login.host, "Username": login.username, "Secret": login.password}
        # buildx and compose are looked for in the system's folders too, so builds go on
        own = {"CI_REGISTRY": login.host, "CI_REGISTRY_LOGIN": json.dumps(said)}
        path = f"{LOGINS}{os.pathsep}{self._environ.get('PATH', os.defpath)}"
        return Docker(
            self._root, {**self._environ, **own, "DOCKER_CONFIG": str(LOGINS), "PATH": path}
        )

    def push(self, name: str, target: str) -> Done:
        """What docker answers to pushing the image `name` under the name `target`."""
        self.good(["docker", "tag", name, target])
        try:
            return self.call(["docker", "push", target], PUSH_S)
        finally:
            self.call(["docker", "rmi", "--no-prune", target])  # the name only; `name` stays


def pushed_digest(output: str) -> str | None:
    """The digest that `docker push` says it pushed."""
    match = PUSHED.search(output)
    return match[1] if match else None
