"""The bodies of second factors."""

from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode


class FactorCodeBody(Body):
    """A code of the authenticator; a recovery code where an authenticator may be lost."""

    code: Unicode


class RequirementBody(Body):
    """Whether members need a second factor."""

    required: bool


class NewFactorView(BaseModel):
    """What an authenticator reads, once: by hand, as a link, as a QR code (SVG)."""

    secret: str
    otpauth: str
    qr_svg: str


class RecoveryCodesView(BaseModel):
    """Codes for when the authenticator is lost, once; each works one time."""

    recovery_codes: list[str]
