"""`python -m user_billing.prove INVOICE`: recomputes an invoice and says what agrees.

Exits with 1 when anything does not; `?` is what cannot be recomputed from what is kept.
"""

import argparse
import sys
from uuid import UUID

from user_billing.app import wire
from user_billing.chassis.clock import Clock
from user_billing.chassis.kinds import ServiceError
from user_billing.chassis.settings import load
from user_billing.invoices import proving
from user_billing.settings import Settings
from user_billing.setup.service import Bootstrap

MARKS = {True: "agrees ", False: "DIFFERS", None: "?      "}


def main(arguments: list[str] | None = None, settings: Settings | None = None) -> None:
    """One line a check on stdout; the exit code says whether all agree."""
    parser = argparse.ArgumentParser(prog="python -m user_billing.prove", description=__doc__)
    parser.add_argument("invoice", type=UUID)
    invoice_id = parser.parse_args(arguments).invoice
    try:
        services, _ = wire(settings or load(Settings), Clock(), Bootstrap())
        org = services.invoices.organisation_of(invoice_id)
        checks = list(proving.prove(services.database, org, invoice_id))
    except ServiceError as exc:
        sys.exit(f"{Settings.service}: {exc}")
    for check in checks:
        sys.stdout.write(f"{MARKS[check.agrees]}  {check.what}\n")
    sys.exit(1 if any(check.agrees is False for check in checks) else 0)


if __name__ == "__main__":
    main()
