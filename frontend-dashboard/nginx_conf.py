"""Writes the nginx.conf of a native run: the container's server block inside a wrapper that needs
no root.

`python nginx_conf.py --out RUN/nginx.conf --port 8080 --dist dist --das http://127.0.0.1:8000 --dis
… --aps … --ubs …`;
everything nginx writes goes beside the file. Run it with `nginx -p RUN -e stderr -c
RUN/nginx.conf`; SIGQUIT ends it gently.
Standard library only.
"""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATES = Path(__file__).resolve().parent / "nginx"
PLACEHOLDER = re.compile(r"\$\{([A-Z_]+)\}")
MODULE_BLOCK = re.compile(
    r"^[ \t]*#if (?P<module>\w+)\n(?P<body>.*?)^[ \t]*#end\n", re.MULTILINE | re.DOTALL
)
# The groups of nginx.conf.template: the server block names these where a container names host:port.
GROUPS = {
    "DAS_UPSTREAM": "data_api",
    "DIS_UPSTREAM": "data_ingest",
    "APS_UPSTREAM": "analysis_processing",
    "UBS_UPSTREAM": "user_billing",
}
OPTIONAL_MODULES = frozenset({"http_stub_status_module", "http_gzip_static_module"})


class ConfError(Exception):
    """No nginx.conf can be made of these settings."""


def substitute(template: str, values: Mapping[str, str]) -> str:
    """`template` with every ${NAME} replaced, as envsubst does; one without a value is an error."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfError(f"the template names ${{{match[1]}}}, which has no value")
        return values[match[1]]

    return PLACEHOLDER.sub(value_of, template)


def keep_modules(template: str, modules: frozenset[str]) -> str:
    """`template` with the `#if` blocks of absent modules taken out."""
    return MODULE_BLOCK.sub(
        lambda block: block["body"] if block["module"] in modules else "", template
    )


def quotable(path: Path) -> str:
    """The path as it may stand between double quotes in nginx.conf; spaces are fine, `$` is a
    variable there.
    """
    text = str(path)
    if "$" in text or "\n" in text or "\r" in text:
        raise ConfError(
            f"nginx cannot serve from a path with a dollar sign or a line break: {text!r}"
        )
    return text.replace("\\", "\\\\").replace('"', '\\"')


def upstream(url: str) -> str:
    """`http://127.0.0.1:8000` → `127.0.0.1:8000`; a bare host:port passes as it is."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfError(f"not a plain http://host:port address: {url!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or 80}"


def user_line(uid: int) -> str:
    """Root's workers stay who they are: `nobody` could not read root's own folders. Others cannot
    change user at all.
    """
    if uid != 0:
        return ""
    entry = pwd.getpwuid(uid)
    return f"user {entry.pw_name} {grp.getgrgid(entry.pw_gid).gr_name};"


def modules_of(nginx: str | None) -> frozenset[str]:
    """The optional modules this nginx was built with; none when no nginx is named, which every
    build can run.
    """
    if nginx is None:
        return frozenset()
    version = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - a named program
    return frozenset(
        name for name in OPTIONAL_MODULES if f"--with-{name}" in version.stderr + version.stdout
    )


def render(
    *,
    runtime: Path,
    listen: str,
    dist: Path,
    upstreams: Mapping[str, str],
    modules: frozenset[str],
    uid: int,
) -> str:
    """The text of nginx.conf; `upstreams` maps das, dis, aps, ubs to URLs."""
    server = substitute(
        keep_modules((TEMPLATES / "default.conf.template").read_text(), modules),
        {
            "PORT": listen,
            "DIST_DIR": quotable(dist),
            "CONNECTIONS": 'proxy_set_header Connection "";',
            **GROUPS,
        },
    )
    return substitute(
        (TEMPLATES / "nginx.conf.template").read_text(),
        {
            "RUNTIME_DIR": quotable(runtime),
            "USER_LINE": user_line(uid),
            "SERVER": server,
            **{f"{code.upper()}_UPSTREAM": upstream(url) for code, url in upstreams.items()},
        },
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the file; 1 with one line on stderr when it cannot."""
    parser = argparse.ArgumentParser(
        prog="nginx_conf.py", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the nginx.conf to write; its folder is the runtime folder",
    )
    parser.add_argument("--host", default="", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dist", type=Path, required=True, help="what build.py wrote")
    parser.add_argument(
        "--nginx", help="the nginx that will run it: optional modules it has are used"
    )
    for code in ("das", "dis", "aps", "ubs"):
        parser.add_argument(f"--{code}", required=True, metavar="URL", help=f"base URL of {code}")
    args = parser.parse_args(argv)
    out: Path = args.out.resolve()
    listen = (
        str(args.port)
        if not args.host
        else f"{f'[{args.host}]' if ':' in args.host else args.host}:{args.port}"
    )
    try:
        text = render(
            runtime=out.parent,
            listen=listen,
            dist=args.dist.resolve(),
            upstreams={code: getattr(args, code) for code in ("das", "dis", "aps", "ubs")},
            modules=modules_of(args.nginx),
            uid=os.geteuid(),
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    except (ConfError, OSError, subprocess.SubprocessError) as error:
        print(f"nginx_conf.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
