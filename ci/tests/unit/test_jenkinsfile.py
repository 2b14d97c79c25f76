"""The Jenkinsfile stays thin and agrees with ci.toml: what can be read off its text."""

import re
from pathlib import Path

import pytest

from ci import catalogue

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "Jenkinsfile").read_text()
CODE = [
    (number, line)
    for number, line in enumerate(TEXT.splitlines(), start=1)
    if line.strip() and not line.strip().startswith("//")
]
SECTIONS = re.compile(
    r"\b(agent|stages|stage|steps|post|when|matrix|axes|axis|options|environment|parallel|always)\b"
    r"[^{]*\{"
)
SECRETS = ("MANIFEST_REPO", "COMMIT_SIGNING_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "_PSW", "_USR")


def test_every_shell_step_is_one_line_of_make_or_ci():
    """Whatever the build server runs, a developer can run as it stands."""
    shells = [(number, line.strip()) for number, line in CODE if re.match(r"\s*sh\b", line)]
    assert len(shells) > 8
    wrong = [
        shell
        for shell in shells
        if not re.fullmatch(r"sh '(make|python -m ci) [^'|;&>]+'", shell[1])
    ]
    assert not wrong


def test_no_logic():
    """What is decided is decided in `ci`: no script blocks, no Groovy of our own."""
    assert not re.search(
        r"\b(script|def|if|for|while|try|returnStdout|load|library)\b *[({\[]", TEXT
    )


def test_one_section_on_a_line():
    """Two blocks on a line would be a command chain; nothing follows a closing brace."""
    several = [(number, line) for number, line in CODE if len(SECTIONS.findall(line)) > 1]
    follows = [(number, line) for number, line in CODE if re.search(r"\}\s*[^\s})]", line.strip())]
    assert not several
    # "${NAME}" within a string is the one brace that closes and is followed
    assert not [each for each in follows if "${" not in each[1]]


def test_no_secret_in_a_double_quoted_string():
    """Groovy would put it on a command line, where masking does not reach."""
    strings = re.findall(r'"([^"\n]*)"', TEXT)
    assert not [text for text in strings if any(secret in text for secret in SECRETS)]


@pytest.mark.parametrize(("axis", "more"), [(0, ["ci"]), (1, [])], ids=["test", "build"])
def test_the_axes_are_the_services(axis, more):
    """A service is added in ci.toml; the matrix that forgets it fails here."""
    found = re.findall(r"name 'FOLDER'\n\s*values ([^\n]+)", TEXT)
    codes = [service.code for service in catalogue.load(ROOT).services]
    assert re.findall(r"'([^']+)'", found[axis]) == codes + more


def test_every_place_that_does_something_has_a_timeout():
    """No stage with steps may hang for as long as the whole build may."""
    blocks = re.split(r"\bstage\('", TEXT)[1:]
    working = [block for block in blocks if re.search(r"\bsteps \{", block)]
    assert len(working) >= 9
    assert not [block.split("'")[0] for block in working if "timeout(time:" not in block]
