"""Organisations of the ledger's tests, made without people."""

from user_billing.identifiers import new_id
from user_billing.model import Organisation
from user_billing.organisations import sql as organisations_sql


def new_organisation(hub):
    """The id of a new organisation that nobody belongs to."""
    org = new_id()
    with hub.services.database.organisation(org) as session:
        made = Organisation(org, "Books", f"books-{org.hex}")
        assert organisations_sql.add_organisation(session, made, hub.clock.now())
    return org
