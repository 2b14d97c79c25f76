"""The error tree of this service.

ServiceError (kinds.py)
├── AccountError
│   ├── BadCredentials        401   wrong e-mail or password: one text for both
│   ├── BadCode               401   wrong, used or late code of a second factor: one text for all
│   ├── ProviderRefused       401   log-in with a provider failed; `reason`: oidc.rules.REASONS
│   ├── NotAuthenticated      401   no credential, or one that is not valid (any more)
│   ├── NotAllowed            403   a valid credential without the scope or role
│   ├── LoginNotFresh         403   the deed needs a login within the last hour
│   ├── CrossSiteRefused      403   an unsafe request that does not come from our own page
│   ├── BadInput              400   a value that breaks a rule, with the rule
│   │   └── WeakPassword      400   why a password cannot be used, for whoever chose it
│   ├── NotFound              404   also everything of other organisations
│   ├── Conflict              409   the state does not allow it
│   ├── TooManyRequests       429   an API key above its rate
│   └── TooManyAttempts       429   throttled, or every hashing slot is taken
└── DatabaseUnavailable       503   the chassis's: no connection, or no schema yet
    └── DatabaseTooSlow       503   a statement or lock timeout
"""

from user_billing.chassis.kinds import Kind, ServiceError


class AccountError(ServiceError):
    """The account call was refused."""

    kind = Kind.BAD_DATA


class BadCredentials(AccountError):
    """The e-mail address or the password is wrong."""

    kind = Kind.UNAUTHENTICATED


class BadCode(AccountError):
    """The code is wrong or was used, or the log-in was begun too long ago."""

    kind = Kind.UNAUTHENTICATED


class ProviderRefused(AccountError):
    """The log-in with the provider failed."""

    kind = Kind.UNAUTHENTICATED


class NotAuthenticated(AccountError):
    """A valid session, token or API key is needed."""

    kind = Kind.UNAUTHENTICATED


class NotAllowed(AccountError):
    """The credential does not allow this."""

    kind = Kind.FORBIDDEN


class LoginNotFresh(AccountError):
    """This needs a log-in within the last hour: log in again."""

    kind = Kind.FORBIDDEN


class CrossSiteRefused(AccountError):
    """The request did not prove that it comes from the dashboard's own page."""

    kind = Kind.FORBIDDEN


class BadInput(AccountError):
    """A value breaks a rule."""


class WeakPassword(BadInput):
    """This password cannot be used."""


class NotFound(AccountError):
    """There is no such thing in this organisation."""

    kind = Kind.NOT_FOUND


class Conflict(AccountError):
    """The present state does not allow this."""

    kind = Kind.CONFLICT


class TooManyRequests(AccountError):
    """The API key asks more often than it may."""

    kind = Kind.RATE_LIMITED


class TooManyAttempts(AccountError):
    """Too many attempts: try again later."""

    kind = Kind.RATE_LIMITED
