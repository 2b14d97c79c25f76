"""The caller's second factor, and whether their organisation requires one."""

from fastapi import APIRouter
from pydantic import BaseModel

from user_billing.api.bodies import Body, Unicode
from user_billing.api.deps import AdminCaller, Browser, ClientDep, NoStore, ServicesDep
from user_billing.factors import rules
from user_billing.factors.service import FactorState

router = APIRouter(prefix="/api/v1", tags=["second factor"])


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


@router.get("/second-factor")
def read_factor(caller: Browser, services: ServicesDep) -> FactorState:
    """What the caller has, and whether it is required here."""
    return services.factors.state(caller.session)


@router.post("/second-factor", status_code=201, dependencies=[NoStore])
def begin_factor(caller: Browser, services: ServicesDep) -> NewFactorView:
    """A new secret, in this answer only; it counts once it is confirmed."""
    import segno  # noqa: PLC0415 - half a MiB that most days need not

    secret = services.factors.begin(caller.principal)
    link = rules.otpauth(secret, caller.session.user.email)
    picture = segno.make(link, micro=False).svg_inline(scale=4, border=4, light="white")
    return NewFactorView(secret=secret, otpauth=link, qr_svg=picture)


@router.post("/second-factor/confirm", dependencies=[NoStore])
def confirm_factor(
    body: FactorCodeBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> RecoveryCodesView:
    """From here on a log-in needs a code; the recovery codes are in this answer only."""
    codes = services.factors.confirm(caller.principal, body.code, client)
    return RecoveryCodesView(recovery_codes=codes)


@router.post("/second-factor/recovery-codes", dependencies=[NoStore])
def renew_recovery_codes(
    body: FactorCodeBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> RecoveryCodesView:
    """Ten new recovery codes, in this answer only; the old ones are void."""
    codes = services.factors.renew_recovery_codes(caller.principal, body.code, client)
    return RecoveryCodesView(recovery_codes=codes)


@router.post("/second-factor/disable", status_code=204)
def disable_factor(
    body: FactorCodeBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> None:
    """No code is asked for any more; needs a fresh log-in and a code."""
    services.factors.disable(caller.principal, body.code, client)


@router.put("/organisation/second-factor", status_code=204)
def require_factor(body: RequirementBody, caller: AdminCaller, services: ServicesDep) -> None:
    """Members need a second factor, or no longer; only an owner says so."""
    services.factors.require(caller, body.required)
