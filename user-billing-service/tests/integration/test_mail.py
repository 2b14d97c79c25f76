"""The outbox: each letter leaves once it is recorded, is tried a bounded number of times, tells no
secret, and floods nobody.
"""

import email
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SECRET_KEY, FixedClock
from embedded_postgres import execute
from letters import letters_to, link, mail_server

from user_billing.chassis.postgres import open_engine
from user_billing.db.session import Database
from user_billing.errors import BadInput
from user_billing.keyring import Keyring
from user_billing.mail.rules import PER_ADDRESS_MAX, RETRY_AFTER, Letter
from user_billing.mail.senders import Folder, sender_of
from user_billing.mail.service import Mail

ADDRESS = "reader@example.org"
LETTER = Letter(ADDRESS, "CloudOpsHub: Überschrift", "http://hub/#/reset/a-secret-token\n")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def database(fresh_url):
    engine = open_engine(
        fresh_url, "tests", pool_size=2, overflow=0,
        statement_timeout_ms=600_000, lock_timeout_ms=600_000,
    )  # fmt: skip
    yield Database(engine)
    engine.dispose()


@pytest.fixture
def mail_to(database, clock):
    def make(sender):
        return Mail(
            database, clock, Keyring(SECRET_KEY), sender=sender,
            sent_from="Hub <hub@example.org>", url="http://hub",
        )  # fmt: skip

    return make


def put(database, mail, letter=LETTER, **more):
    with database.directory() as session:
        mail.put(session, letter, **more)


class Broken:
    """A way out that is closed."""

    def __init__(self):
        self.tries = 0

    def send(self, message):
        self.tries += 1
        raise ConnectionRefusedError(message["To"])


def test_a_mail_server_gets_the_letter_once(database, clock, mail_to):
    """After a temporary refusal it is taken at the next try, and never again; headers are whole."""
    with mail_server() as server:
        server.refuse = 1
        mail = mail_to(sender_of(f"smtp+plain://127.0.0.1:{server.port}"))
        put(database, mail)
        assert mail.work() == 1
        assert server.taken == []
        assert mail.work() == 0, "it waits its turn"
        clock.advance(minutes=1)
        assert mail.work() == 1
        clock.advance(days=1)
        assert mail.work() == 0
    [(recipient, data)] = server.taken
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert (recipient, message["To"], message["From"]) == (
        ADDRESS,
        ADDRESS,
        "Hub <hub@example.org>",
    )
    assert message["Subject"] == LETTER.subject
    assert message.get_content().split() == LETTER.text.split()


def test_a_mail_server_without_encryption_is_refused(database, clock, mail_to):
    """smtp:// without STARTTLS sends nothing: a password and a link are not for the wire."""
    with mail_server() as server:
        mail = mail_to(sender_of(f"smtp://user:word@127.0.0.1:{server.port}"))
        put(database, mail)
        assert mail.work() == 1
        assert server.taken == []


def test_tries_are_bounded(database, clock, mail_to, fresh_url):
    """One try and one after each pause; then the letter is given up and what it said is gone."""
    sender = Broken()
    mail = mail_to(sender)
    put(database, mail)
    for _ in range(3 * len(RETRY_AFTER)):
        mail.work()
        clock.advance(hours=6)
    assert sender.tries == 1 + len(RETRY_AFTER)
    ended = "SELECT error || (sealed IS NULL) FROM billing.mail WHERE ended_at IS NOT NULL"
    assert execute(fresh_url, ended) == "ConnectionRefusedErrortrue"


def test_no_address_is_flooded(database, clock, mail_to, fresh_url):
    """An address gets so many an hour and not one more; another one still gets its own."""
    mail = mail_to(Broken())
    for _ in range(3 * PER_ADDRESS_MAX):
        put(database, mail)
    put(database, mail, Letter("other@example.org", "s", "t"))
    count = "SELECT count(*)::text FROM billing.mail"
    assert execute(fresh_url, count) == str(PER_ADDRESS_MAX + 1)
    clock.advance(hours=1, seconds=1)
    put(database, mail)
    assert execute(fresh_url, count) == str(PER_ADDRESS_MAX + 2)


def test_a_letter_is_of_its_transaction(database, mail_to, fresh_url):
    """A deed that is done sends its letter, one that is rolled back sends nothing."""
    mail = mail_to(Broken())

    def deed():
        put(database, mail)
        with database.directory() as session:
            mail.put(session, LETTER)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        deed()
    assert execute(fresh_url, "SELECT count(*)::text FROM billing.mail") == "1"


def test_neither_log_nor_database_tells_a_link(
    database, mail_to, tmp_path, fresh_url, capfd, caplog
):
    """The token is in the letter alone: not in a log line of sending or failing, not in a row."""
    caplog.set_level(logging.DEBUG)
    put(database, mail_to(Broken()))
    dump = execute(
        fresh_url, "SELECT string_agg(m::text || encode(sealed, 'escape'), '') FROM billing.mail m"
    )
    assert "a-secret-token" not in dump
    assert ADDRESS not in dump
    mail_to(Broken()).work()
    put(database, mail_to(None))
    put(database, mail_to(Folder(tmp_path)))
    mail_to(Folder(tmp_path)).work()
    out, err = capfd.readouterr()
    assert "a-secret-token" not in out + err + caplog.text
    assert [link(letter) for letter in letters_to(tmp_path, ADDRESS)] == [
        ("reset", "a-secret-token")
    ]
    assert oct(next(tmp_path.glob("*.eml")).stat().st_mode)[-3:] == "600"


KILLED = """
import os, signal, sys
sys.path.insert(0, "tests")
from pathlib import Path
from conftest import SECRET_KEY
from user_billing.chassis.clock import Clock
from user_billing.chassis.postgres import open_engine
from user_billing.db.session import Database
from user_billing.keyring import Keyring
from user_billing.mail.senders import Folder
from user_billing.mail.service import Mail

class Deadly(Folder):
    def send(self, message):
        super().send(message)
        os.kill(os.getpid(), signal.SIGKILL)

engine = open_engine(sys.argv[1], "killed", pool_size=1, overflow=0,
                     statement_timeout_ms=600_000, lock_timeout_ms=600_000)
Mail(Database(engine), Clock(), Keyring(SECRET_KEY), sender=Deadly(Path(sys.argv[2])),
     sent_from="hub@example.org", url="http://hub").work()
"""


def test_a_kill_between_sending_and_recording_loses_and_doubles_nothing(
    database, clock, mail_to, tmp_path, fresh_url
):
    """The letter is tried again under the same id: a folder has it once, a reader can tell."""
    mail = mail_to(Folder(tmp_path))
    put(database, mail)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, fresh_url, str(tmp_path)],
        cwd=ROOT, timeout=600, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    [first] = letters_to(tmp_path, ADDRESS)
    clock.advance(minutes=5)
    assert mail.work() == 1
    [again] = letters_to(tmp_path, ADDRESS)
    assert again["Message-ID"] == first["Message-ID"]
    clock.advance(days=1)
    assert mail.work() == 0


@pytest.mark.parametrize("where", ["", "http://x", "smtp://", "file:relative", "mailbox"])
def test_a_way_that_is_none_is_refused_at_start(where):
    """UBS_MAIL is judged when the service starts, and its value, a secret, is not told."""
    with pytest.raises(BadInput, match="UBS_MAIL"):
        sender_of(where)
