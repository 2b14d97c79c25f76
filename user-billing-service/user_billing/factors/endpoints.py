"""The caller's second factor, and whether their organisation requires one."""

import segno
from fastapi import APIRouter, Response, status

from user_billing.api.deps import AdminCaller, Browser, ClientDep, ServicesDep
from user_billing.factors import rules
from user_billing.factors.views import (
    FactorCodeBody,
    FactorView,
    NewFactorView,
    RecoveryCodesView,
    RequirementBody,
)

router = APIRouter(prefix="/api/v1", tags=["second factor"])


@router.get("/second-factor")
def read_factor(caller: Browser, services: ServicesDep) -> FactorView:
    """What the caller has, and whether it is required here."""
    return FactorView.model_validate(services.factors.state(caller.session))


@router.post("/second-factor", status_code=status.HTTP_201_CREATED)
def begin_factor(caller: Browser, response: Response, services: ServicesDep) -> NewFactorView:
    """A new secret, in this answer only; it counts once it is confirmed."""
    response.headers["Cache-Control"] = "no-store"
    secret = services.factors.begin(caller.principal)
    link = rules.otpauth(secret, caller.session.user.email)
    picture = segno.make(link, micro=False).svg_inline(scale=4, border=4, light="white")
    return NewFactorView(secret=secret, otpauth=link, qr_svg=picture)


@router.post("/second-factor/confirm")
def confirm_factor(
    body: FactorCodeBody,
    caller: Browser,
    response: Response,
    services: ServicesDep,
    client: ClientDep,
) -> RecoveryCodesView:
    """From here on a log-in needs a code; the recovery codes are in this answer only."""
    response.headers["Cache-Control"] = "no-store"
    codes = services.factors.confirm(caller.principal, body.code, client)
    return RecoveryCodesView(recovery_codes=codes)


@router.post("/second-factor/recovery-codes")
def renew_recovery_codes(
    body: FactorCodeBody,
    caller: Browser,
    response: Response,
    services: ServicesDep,
    client: ClientDep,
) -> RecoveryCodesView:
    """Ten new recovery codes, in this answer only; the old ones are void."""
    response.headers["Cache-Control"] = "no-store"
    codes = services.factors.renew_recovery_codes(caller.principal, body.code, client)
    return RecoveryCodesView(recovery_codes=codes)


@router.post("/second-factor/disable", status_code=status.HTTP_204_NO_CONTENT)
def disable_factor(
    body: FactorCodeBody, caller: Browser, services: ServicesDep, client: ClientDep
) -> Response:
    """No code is asked for any more; needs a fresh log-in and a code."""
    services.factors.disable(caller.principal, body.code, client)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.put("/organisation/second-factor", status_code=status.HTTP_204_NO_CONTENT)
def require_factor(body: RequirementBody, caller: AdminCaller, services: ServicesDep) -> Response:
    """Members need a second factor, or no longer; only an owner says so."""
    services.factors.require(caller, body.required)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
