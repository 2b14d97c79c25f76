"""Rendering nginx.conf: pure text in, text out; settings that nginx could not read are refused."""

from __future__ import annotations

from pathlib import Path

import nginx_conf
import pytest
from hypothesis import given
from hypothesis import strategies as st

URLS = {
    "das": "http://127.0.0.1:8000",
    "dis": "http://127.0.0.1:8001",
    "aps": "http://127.0.0.1:8002",
    "ubs": "http://127.0.0.1:8003",
}


def render(*, modules: frozenset[str] = frozenset(), uid: int = 1000) -> str:
    """The file for a usual machine."""
    return nginx_conf.render(
        runtime=Path("/run/a b"),
        listen="8080",
        dist=Path("/srv/the page"),
        upstreams=URLS,
        modules=modules,
        uid=uid,
    )


def test_nothing_is_left_to_substitute() -> None:
    """No ${NAME} survives, and nginx's own $variables do."""
    text = render()
    assert not nginx_conf.PLACEHOLDER.search(text)
    assert "$http_host" in text


def test_a_name_without_a_value_is_an_error() -> None:
    """A template that asks for more than it gets is refused, not half filled."""
    with pytest.raises(nginx_conf.ConfError, match="NEW_THING"):
        nginx_conf.substitute("listen ${NEW_THING};", {"PORT": "1"})


def test_absent_modules_leave_no_directive() -> None:
    """A build of nginx without stub_status or gzip_static never meets their directives."""
    assert "stub_status;" not in render()
    assert "gzip_static" not in render()
    full = render(modules=nginx_conf.OPTIONAL_MODULES)
    assert "stub_status;" in full
    assert "gzip_static on;" in full


def test_only_root_names_a_user() -> None:
    """`user` is an error-free directive for root alone."""
    assert "\nuser " not in render()
    assert "\nuser root root;" in render(uid=0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("data-api-service:8000", "data-api-service:8000"),
        ("http://[::1]:9/", "[::1]:9"),
        ("http://das", "das:80"),
    ],
)
def test_an_upstream_is_host_and_port(url: str, expected: str) -> None:
    """A base URL becomes what an upstream block takes."""
    assert nginx_conf.upstream(url) == expected


@pytest.mark.parametrize("url", ["https://das:443", "http://das/path", "", "http://"])
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    """TLS, paths and nothing at all are not silently dropped."""
    with pytest.raises(nginx_conf.ConfError):
        nginx_conf.upstream(url)


@given(
    st.text(
        alphabet=st.characters(exclude_characters="$\n\r\0", exclude_categories=["Cs"]), min_size=1
    )
)
def test_a_quoted_path_ends_where_it_should(name: str) -> None:
    """Inside double quotes no unescaped quote is left, whatever the path holds."""
    quoted = nginx_conf.quotable(Path("/x") / name)
    at = 0
    while at < len(quoted):
        assert quoted[at] != '"'
        at += 2 if quoted[at] == "\\" else 1
    assert at == len(quoted)


@pytest.mark.parametrize("path", ["/a$b", "/a\nb"])
def test_a_path_nginx_cannot_hold_is_refused(path: str) -> None:
    """A dollar sign would be a variable: the refusal says so."""
    with pytest.raises(nginx_conf.ConfError, match="dollar"):
        nginx_conf.quotable(Path(path))


def test_the_template_is_fit_for_envsubst() -> None:
    """The container renders the same file: the names it must define are exactly these."""
    names = set(
        nginx_conf.PLACEHOLDER.findall((nginx_conf.TEMPLATES / "default.conf.template").read_text())
    )
    assert names == {
        "PORT",
        "DIST_DIR",
        "CONNECTIONS",
        "DAS_UPSTREAM",
        "DIS_UPSTREAM",
        "APS_UPSTREAM",
        "UBS_UPSTREAM",
    }
