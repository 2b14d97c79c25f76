"""What Dockerfiles and settings say is read as Docker and Python read it."""

import pytest
import service_facts as facts

from ci import catalogue
from ci.errors import Defect

LISTED = catalogue.load()
TWO_STAGES = """\
FROM python AS build
ENV ONLY_BUILD=1
EXPOSE 1
USER 1:1
FROM python
ENV PATH=/opt/bin:$PATH \\
    HOST=0.0.0.0 \\
    QUOTED="a b"
EXPOSE 8000/tcp
USER 10001:10002
"""


def test_the_last_stage_counts():
    """What a build stage exposes or runs as is not in the image."""
    found = facts.image_facts(TWO_STAGES, "x")
    assert (found.port, found.user, found.group) == (8000, 10001, 10002)
    assert found.variables == {"PATH": "/opt/bin:$PATH", "HOST": "0.0.0.0", "QUOTED": "a b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM x\nUSER 1\n", "does not EXPOSE"),
        ("FROM x\nEXPOSE 80\n", "USER None"),
        ("FROM x\nEXPOSE 80\nUSER nginx\n", "USER nginx is not a number"),
        ("FROM x\nEXPOSE 80\nUSER 0\n", "USER 0 is not"),
    ],
)
def test_an_image_that_leaves_port_or_user_open_is_a_defect(text, said):
    """A non-root user can only be checked for a number, and root is none that we run as."""
    with pytest.raises(Defect, match=said):
        facts.image_facts(text, "x")


def test_who_reads_a_url_calls_it():
    """The calls between the services, as their settings and the page's upstreams have them."""
    calls = {each.service.code: set(each.calls) for each in facts.read(LISTED)}
    assert calls == {
        "das": {"dis", "ubs"},
        "dis": {"das", "aps", "ubs", "ui"},
        "aps": {"das", "dis", "ubs"},
        "ubs": set(),
        "ui": {"das", "dis", "aps", "ubs"},
    }
