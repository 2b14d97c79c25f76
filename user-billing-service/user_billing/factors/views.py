"""The bodies of second factors."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from user_billing.api.bodies import Body, Unicode


class FactorCodeBody(Body):
    """A code of the authenticator; a recovery code where an authenticator may be lost."""

    code: Unicode


class RequirementBody(Body):
    """Whether members need a second factor."""

    required: bool


class FactorView(BaseModel):
    """What the caller has. confirmed_at null: no second factor is asked for."""

    model_config = ConfigDict(from_attributes=True)

    confirmed_at: datetime | None
    recovery_codes_left: int
    required: bool


class NewFactorView(BaseModel):
    """What an authenticator reads, once: by hand, as a link, as a QR code (SVG)."""

    secret: str
    otpauth: str
    qr_svg: str


class RecoveryCodesView(BaseModel):
    """Codes for when the authenticator is lost, once; each works one time."""

    recovery_codes: list[str]
