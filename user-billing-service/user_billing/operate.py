"""`python -m user_billing.operate …`: what an operator does by hand, with the service's settings.

setup-link            the set-up link again, while the installation waits for its owner
rotate-signing-key    new signing keys, as after a leak: tokens of the old ones are dead within 5 s
verify-audit ORG      proves an organisation's audit chain, or says where it breaks
verify-ledger ORG     sums an organisation's ledger and wallets again, or says what is wrong
"""

import argparse
import sys
from datetime import UTC, datetime
from uuid import UUID

from user_billing.app import wire
from user_billing.chassis.clock import Clock
from user_billing.chassis.kinds import ServiceError
from user_billing.chassis.settings import load
from user_billing.settings import Settings
from user_billing.setup.service import Bootstrap


def main(arguments: list[str] | None = None) -> None:
    """The command; its answer is one line on stdout, its failure one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m user_billing.operate")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup-link", help="print the set-up link while it is needed")
    commands.add_parser(
        "rotate-signing-key",
        help="replace the signing keys; every token made before is dead within 5 s",
    )
    for name, what in (("audit", "prove the audit chain"), ("ledger", "sum the ledger again")):
        verify = commands.add_parser(f"verify-{name}", help=f"{what} of an organisation")
        verify.add_argument("organisation", type=UUID)
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{run(load(Settings), given.command, vars(given).get('organisation'))}\n")
    except ServiceError as exc:
        sys.exit(f"{Settings.service}: {exc}")


def run(settings: Settings, command: str, organisation: UUID | None) -> str:
    """What the command answers. Exits with 1 for an audit chain or a ledger that is broken."""
    services, _ = wire(settings, Clock(), Bootstrap())
    if command == "setup-link":
        token = services.first_start.link_token()
        if token is None:
            return "the installation has its owner: log in"
        return f"{settings.ui_public_url}/#/setup/{token}"
    if command == "rotate-signing-key":
        services.signing.replace_all()
        return f"signing with {services.signing.current().active_kid} since {datetime.now(UTC)}"
    assert organisation is not None, "argparse asks for it"
    if command == "verify-ledger":
        faults = [*services.ledger.faults(organisation), *services.wallets.faults(organisation)]
        if faults:
            sys.exit("\n".join(f"{Settings.service}: {fault}" for fault in faults))
        return "the ledger sums to zero, and the wallets agree with it"
    broken = services.audit.first_break(organisation)
    if broken is not None:
        sys.exit(f"{Settings.service}: the audit chain breaks at event {broken}")
    return "the audit chain is whole"


if __name__ == "__main__":
    main()
