"""What the container makes of its upstreams before nginx starts: names that a resolver knows."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "nginx" / "upstreams.envsh"
DOCKER = "nameserver 127.0.0.11\nsearch example.com\noptions ndots:0\n"
KUBERNETES = """\
search shop.svc.cluster.local svc.cluster.local cluster.local example.com
nameserver 10.96.0.10
nameserver fd00::a
nameserver fe80::1%eth0
options ndots:5
"""

Source = Callable[[str, str], dict[str, str]]


@pytest.fixture
def sourced(tmp_path: Path) -> Source:
    """The variables after the script, by name: `sourced(resolv_conf, DAS_UPSTREAM)`."""

    def source(resolv_conf: str, das: str) -> dict[str, str]:
        (tmp_path / "resolv.conf").write_text(resolv_conf)
        (tmp_path / "hosts").write_text("127.0.0.1 localhost\n10.0.0.7 x named\nfd00::7 six\n")
        variables = {
            "PATH": "/usr/bin:/bin",
            "RESOLV_CONF": str(tmp_path / "resolv.conf"),
            "HOSTS": str(tmp_path / "hosts"),
            **{f"{code}_UPSTREAM": das for code in ("DAS", "DIS", "APS", "UBS")},
        }
        done = subprocess.run(
            ["sh", "-euc", f". '{SCRIPT}'; env"],
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    return source


@pytest.mark.parametrize(
    ("given", "docker", "kubernetes"),
    [
        ("das:8000", "das:8000", "das.shop.svc.cluster.local:8000"),
        ("das.other:8000", "das.other:8000", "das.other.svc.cluster.local:8000"),
        ("das.other.svc:80", "das.other.svc:80", "das.other.svc.cluster.local:80"),
        ("das.example.com:80", "das.example.com:80", "das.example.com:80"),
        ("example.com.:80", "example.com.:80", "example.com.:80"),
        ("127.0.0.1:9", "127.0.0.1:9", "127.0.0.1:9"),
        ("[::1]:9", "[::1]:9", "[::1]:9"),
        ("named:9", "10.0.0.7:9", "10.0.0.7:9"),
        ("six:9", "[fd00::7]:9", "[fd00::7]:9"),
    ],
)
def test_a_name_becomes_one_that_the_resolver_knows(
    sourced: Source, given: str, docker: str, kubernetes: str
) -> None:
    """Whole in Kubernetes, as it is in Docker, the address where /etc/hosts has one."""
    for resolv_conf, expected in ((DOCKER, docker), (KUBERNETES, kubernetes)):
        variables = sourced(resolv_conf, given)
        assert {variables[f"{code}_UPSTREAM"] for code in ("DAS", "DIS", "APS", "UBS")} == {
            expected
        }


@pytest.mark.parametrize(
    ("resolv_conf", "servers"),
    [(DOCKER, "127.0.0.11"), (KUBERNETES, "10.96.0.10 [fd00::a]"), ("", "127.0.0.1")],
)
def test_the_containers_own_name_servers_are_asked(
    sourced: Source, resolv_conf: str, servers: str
) -> None:
    """Each address of resolv.conf that nginx can use; without any nginx still starts."""
    connections = sourced(resolv_conf, "das:8000")["CONNECTIONS"]
    assert connections == f"resolver {servers} valid=2s; resolver_timeout 2s;"
