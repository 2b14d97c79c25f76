"""Every part of the service, joined: the only place where parts are chosen."""

from datetime import timedelta
from threading import Lock
from urllib.parse import urlsplit

from pydantic import SecretStr

from user_billing.audit.service import Audit
from user_billing.chassis.callers import Buckets
from user_billing.chassis.clock import Clock
from user_billing.chassis.guard import parse_networks
from user_billing.chassis.postgres import open_engine
from user_billing.chassis.probes import Drain
from user_billing.costs.service import Costs
from user_billing.db.session import Database
from user_billing.factors.service import Codes, Factors
from user_billing.idempotency.service import Answers
from user_billing.invoices import sql as invoices_sql
from user_billing.invoices.corrections import Corrections
from user_billing.invoices.periods import Periods
from user_billing.invoices.sellers import Sellers
from user_billing.invoices.service import Invoices
from user_billing.keyring import Keyring
from user_billing.keys.service import Keys
from user_billing.ledger.service import Ledger
from user_billing.mail.senders import sender_of
from user_billing.mail.service import Mail
from user_billing.members.service import Members
from user_billing.meters.service import Meters
from user_billing.oidc.client import ProviderClient
from user_billing.oidc.service import Oidc
from user_billing.organisations.service import Organisations
from user_billing.people.passwords import Passwords
from user_billing.people.privacy import Privacy
from user_billing.people.proof import Proofs
from user_billing.people.service import People
from user_billing.plans.service import Plans
from user_billing.quotas.guard import Guard
from user_billing.quotas.service import Quotas
from user_billing.service_accounts.service import ServiceAccounts
from user_billing.sessions.service import Sessions
from user_billing.settings import Settings
from user_billing.setup.service import FirstStart
from user_billing.subscriptions.service import Subscriptions
from user_billing.teams.service import Teams
from user_billing.throttle.service import Throttle
from user_billing.tokens.service import Tokens
from user_billing.tokens.signing import SigningKeys
from user_billing.usage.intake import Intake
from user_billing.usage.service import Usage
from user_billing.wallets.service import Wallets
from user_billing.webhooks.delivery import Courier
from user_billing.webhooks.service import Webhooks


class Services:
    """What the routes call, the background does and one-off commands use."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Connects to nothing."""
        self.settings, self.clock, self.drain = settings, clock, Drain()
        self.buckets, self.buckets_lock = Buckets(), Lock()
        """Of API keys: requests are judged in threads, and one bucket counts for all of them."""
        self.database = database = _database(settings)
        self._join_people(database, clock, Keyring(settings.secret_key.get_secret_value()))
        self._join_usage_and_money(database, clock)

    def _join_people(self, database: Database, clock: Clock, keyring: Keyring) -> None:
        settings = self.settings
        passwords = Passwords(slots=settings.hashing_slots, queue=settings.hashing_queue)
        throttle, codes = Throttle(database, clock, keyring), Codes(keyring)
        proofs = Proofs(database, passwords, throttle)
        self.mail = mail = _mail(settings, database, clock, keyring)
        self.audit = Audit(database)
        self.sessions = sessions = Sessions(database, clock, keyring, proofs, codes)
        self.keys = Keys(database, clock, keyring)
        self.service_accounts = ServiceAccounts(database, clock)
        self.organisations = Organisations(database, clock)
        self.members = Members(
            database, clock, keyring, proofs, sessions, mail,
            organisations_max=settings.organisations_per_user_max,
        )  # fmt: skip
        self.people = People(database, clock, keyring, proofs, codes, sessions, mail)
        self.privacy = Privacy(database, clock, mail)
        self.factors = Factors(database, clock, keyring, throttle, codes)
        self.oidc = Oidc(
            database, clock, keyring, proofs, sessions,
            providers={provider.name: provider for provider in settings.oidc},
            public_url=settings.ui_public_url,
            client=ProviderClient(clock),
        )  # fmt: skip
        self.first_start = FirstStart(
            database, clock, keyring, proofs, sessions, self.keys,
            chosen_token=text_of(settings.setup_token),
        )  # fmt: skip
        rotate_after = timedelta(days=settings.signing_key_days)
        self.signing = SigningKeys(database, clock, keyring, rotate_after)
        self.tokens = Tokens(database, clock, self.signing)
        self.answers = Answers(database, clock, keyring)
        allowed = parse_networks(settings.webhook_allow)
        self.webhooks = Webhooks(database, clock, keyring, plain_http=bool(allowed))
        self.courier = Courier(database, clock, keyring, allowed)

    def _join_usage_and_money(self, database: Database, clock: Clock) -> None:
        grace = timedelta(hours=self.settings.billing_grace_hours)
        self.meters = Meters(database, clock)
        self.usage = Usage(database, clock)
        self.intake = Intake(database, clock)
        self.teams = Teams(database, clock, invoiced_until=invoices_sql.invoiced_until)
        self.costs = Costs(database, clock)
        self.quotas = Quotas(database, clock)
        self.guard = Guard(database, clock)
        self.plans = Plans(database, clock)
        self.sellers = Sellers(database, clock)
        self.subscriptions = Subscriptions(database, clock)
        self.invoices = Invoices(database, clock, self.subscriptions)
        self.periods = Periods(database, clock, self.invoices, grace)
        self.corrections = Corrections(database, clock)
        self.ledger = Ledger(database)
        self.wallets = Wallets(database, clock)


def _database(settings: Settings) -> Database:
    engine = open_engine(
        settings.database_url.get_secret_value(),
        "cloudopshub-ubs",
        pool_size=settings.pool_size,
        overflow=settings.pool_overflow,
        statement_timeout_ms=settings.statement_timeout_ms,
        lock_timeout_ms=settings.lock_timeout_ms,
    )
    return Database(engine)


def _mail(settings: Settings, database: Database, clock: Clock, keyring: Keyring) -> Mail:
    where = text_of(settings.mail)
    host = urlsplit(settings.ui_public_url).hostname or "localhost"
    sender = None if where is None else sender_of(where)
    sent_from = settings.mail_from or f"CloudOpsHub <cloudopshub@{host}>"
    return Mail(database, clock, keyring, sender, sent_from, settings.ui_public_url)


def text_of(secret: SecretStr | None) -> str | None:
    """What the secret hides."""
    return None if secret is None else secret.get_secret_value()
