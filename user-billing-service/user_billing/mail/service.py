"""The outbox: a letter is written with the deed it tells of, and sent after it.

    deed's transaction ──put──▶ mail ──claim──▶ sender ──▶ ended (what it said is gone)
                                  ▲────────────────┘ later, six attempts
A letter that is recorded as sent is never sent again. One whose process died between sending and
recording is sent again, with the same Message-ID.
"""

import json
from dataclasses import asdict, dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy.orm import Session

from user_billing.chassis.clock import Clock
from user_billing.db import people as t
from user_billing.db import rows
from user_billing.db.session import Database
from user_billing.identifiers import new_id
from user_billing.keyring import Keyring, SealBroken
from user_billing.mail import rules, sql
from user_billing.mail.rules import Letter
from user_billing.mail.senders import Sender

log = structlog.get_logger()
MAILS = Counter("cloudopshub_billing_mails_total", "Letters, by what became of them.", ["outcome"])
AT_ONCE = 20


@dataclass(frozen=True)
class Mail:
    """Letters of this hub. sender None: it sends none, and `put` changes nothing."""

    database: Database
    clock: Clock
    keyring: Keyring
    sender: Sender | None
    sent_from: str
    url: str

    @property
    def is_on(self) -> bool:
        """Whether this hub sends letters."""
        return self.sender is not None

    def write(
        self, session: Session, kind: str, to: str, *, mute: bool = False, **facts: str
    ) -> None:
        """As `put`, the letter of that kind (rules.LETTERS)."""
        self.put(session, rules.letter(kind, to, url=self.url, **facts), mute=mute)

    def put(self, session: Session, letter: Letter, *, mute: bool = False) -> None:
        """The letter goes out once the directory transaction commits; at most PER_ADDRESS_MAX do.

        Takes the address's lock: call it before `audit.record`, so that none wait for each other.

        mute: the same work for a letter that nobody gets, so that time tells nothing.
        """
        if self.sender is None:
            return
        now, address = self.clock.now(), self.keyring.throttle_name(letter.to)
        recent = sql.letters_since(session, address, now - rules.PER_ADDRESS_IN)
        waiting = sql.waiting(session, rules.WAITING_MAX)
        if recent >= rules.PER_ADDRESS_MAX or waiting >= rules.WAITING_MAX:
            MAILS.labels("bounded").inc()
            log.warning("mail_bounded", recent=recent, waiting=waiting)
            return
        mail_id = new_id()
        sealed = self.keyring.seal(json.dumps(asdict(letter)).encode(), label=f"mail {mail_id}")
        sql.add(session, mail_id, address, None if mute else sealed, now)

    def forget(self, session: Session, email: str) -> None:
        """No letter to the address waits."""
        rows.drop(session, t.mail, address=self.keyring.throttle_name(email))

    def work(self) -> int:
        """How many letters were tried: those that are due, AT_ONCE at most."""
        for tried in range(AT_ONCE):
            if self.sender is None or not self._send_one(self.sender):
                return tried
        return AT_ONCE

    def _send_one(self, sender: Sender) -> bool:
        with self.database.directory() as session:
            row = sql.claim(session, self.clock.now())
        if row is None:
            return False
        try:
            sender.send(self._message(row.id, row.sealed))
        except (OSError, ValueError, MessageError, SealBroken) as exc:
            reason = type(exc).__name__
            is_last = row.attempts > len(rules.RETRY_AFTER)
            MAILS.labels("given_up" if is_last else "failed").inc()
            log.warning("mail_failed", id=str(row.id), reason=reason, attempt=row.attempts)
            with self.database.directory() as session:
                if is_last:
                    sql.end(session, row.id, self.clock.now(), error=reason)
                else:
                    rows.change(session, t.mail, {"id": row.id}, error=reason)
            return True
        with self.database.directory() as session:
            sql.end(session, row.id, self.clock.now(), error=None)
        MAILS.labels("sent").inc()
        return True

    def _message(self, mail_id: UUID, sealed: bytes) -> EmailMessage:
        letter = Letter(**json.loads(self.keyring.open(bytes(sealed), label=f"mail {mail_id}")))
        message = EmailMessage()
        message["From"] = self.sent_from
        message["To"] = Address(addr_spec=letter.to)
        message["Subject"] = letter.subject
        message["Date"] = format_datetime(self.clock.now())
        message["Message-ID"] = f"<{mail_id}@{self.sent_from.rpartition('@')[2].strip('>')}>"
        message["Auto-Submitted"] = "auto-generated"
        # A link is longer than a line, and is to be whole where a message is read as it is.
        message.set_content(letter.text, cte="7bit" if letter.text.isascii() else None)
        return message
