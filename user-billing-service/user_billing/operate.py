"""`python -m user_billing.operate …`: what an operator does by hand, with the service's settings.

setup-link            the set-up link again, while the installation waits for its owner
rotate-signing-key    new signing keys, as after a leak: tokens of the old ones are dead within 5 s
verify-audit [ORG]    proves the audit chain of an organisation, or of all, or says where it breaks
             --file F  proves an exported JSON file against the log
verify-ledger ORG     sums an organisation's ledger and wallets again, or says what is wrong
reset-second-factor EMAIL  for who lost authenticator and recovery codes, after you know it is they
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from user_billing.app import wire
from user_billing.audit.service import Audit
from user_billing.chassis.clock import Clock
from user_billing.chassis.kinds import ServiceError
from user_billing.chassis.settings import load
from user_billing.settings import Settings
from user_billing.setup.service import Bootstrap


def main(arguments: list[str] | None = None) -> None:
    """The command; its answer is one line on stdout, its failure one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m user_billing.operate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup-link")
    commands.add_parser("rotate-signing-key")
    verify = commands.add_parser("verify-audit")
    verify.add_argument("organisation", type=UUID, nargs="?", help="one; else all of them")
    verify.add_argument("--file", type=Path, help="an export with format=json")
    commands.add_parser("reset-second-factor").add_argument("email")
    commands.add_parser("verify-ledger").add_argument("organisation", type=UUID)
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{run(load(Settings), **vars(given))}\n")
    except ServiceError as exc:
        sys.exit(f"{Settings.service}: {exc}")


def run(
    settings: Settings,
    command: str,
    organisation: UUID | None = None,
    file: Path | None = None,
    email: str = "",
) -> str:
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
    if command == "verify-ledger":
        assert organisation is not None, "argparse asks for it"
        faults = [*services.ledger.faults(organisation), *services.wallets.faults(organisation)]
        if faults:
            sys.exit("\n".join(f"{Settings.service}: {fault}" for fault in faults))
        return "the ledger sums to zero, and the wallets agree with it"
    if command == "reset-second-factor":
        services.factors.reset(email)
        return f"{email} logs in without a code now"
    return verify_file(services.audit, file) if file else verify_audit(services.audit, organisation)


def verify_audit(audit: Audit, organisation: UUID | None) -> str:
    """That an audit chain, or all, are whole; exits with 1 when one is not."""
    chains = audit.organisations() if organisation is None else [organisation]
    faults = [
        f"{Settings.service}: {org}: the audit chain breaks at event {broken}"
        for org in chains
        if (broken := audit.first_break(org)) is not None
    ]
    if faults:
        sys.exit("\n".join(faults))
    return "the audit chain is whole" if organisation else f"{len(chains)} audit chains are whole"


def verify_file(audit: Audit, file: Path) -> str:
    """That an exported file is what the log says; exits with 1 when it is not."""
    try:
        count, broken = audit.first_break_of_file(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        sys.exit(f"{Settings.service}: {file} cannot be read: {exc}")
    if broken is not None:
        sys.exit(f"{Settings.service}: {file} is not the audit log, from event {broken} on")
    return f"{count} events, as the audit log has them"


if __name__ == "__main__":
    main()
