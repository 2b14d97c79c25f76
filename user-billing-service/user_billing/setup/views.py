"""The bodies of the first start."""

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode


class SetUpBody(Body):
    """The set-up form."""

    token: Unicode
    email: Unicode
    password: Unicode
    organisation: Unicode


class SetUpView(BaseModel):
    """Whether the installation waits for its owner."""

    needed: bool
