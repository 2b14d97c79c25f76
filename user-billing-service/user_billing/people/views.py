"""The bodies of accounts."""

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode


class EmailBody(Body):
    """An address."""

    email: Unicode


class LinkBody(Body):
    """The token of a link in a letter."""

    token: Unicode


class ResetBody(LinkBody):
    """The token of a link and the new password."""

    password: Unicode


class PasswordBody(Body):
    """The password, to prove who is there. code: of the second factor of who has one."""

    password: Unicode
    code: Unicode = ""


class NewPasswordBody(Body):
    """The password there is, and the one there is to be. code: as in PasswordBody."""

    old: Unicode
    new: Unicode
    code: Unicode = ""


class NewAddressBody(PasswordBody):
    """The address there is to be."""

    email: Unicode


class ExportView(BaseModel):
    """What is stored of a person: account, organisations with keys and events, sessions,
    second factor, identities.
    """

    account: dict[str, object]
    organisations: list[dict[str, object]]
    sessions: list[dict[str, object]]
    second_factor: dict[str, object] | None
    identities: list[dict[str, object]]
