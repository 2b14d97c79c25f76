"""What can go wrong with notifications.

BadConfiguration      bad_data     the YAML of a tenant cannot be used; line, column and why
BadMatcher            bad_data     a matcher, silence or filter cannot be read
TooMany               rate_limited a bound of the tenant is reached
Unreadable            unavailable  the stored configuration was sealed with another secret
"""

from data_api.chassis.kinds import Kind, ServiceError


class BadConfiguration(ServiceError):
    """The configuration of notifications cannot be used"""

    kind = Kind.BAD_DATA


class BadMatcher(ServiceError):
    """It cannot be read"""

    kind = Kind.BAD_DATA


class TooMany(ServiceError):
    """There are too many of them"""

    kind = Kind.RATE_LIMITED


class Unreadable(ServiceError):
    """The stored configuration was sealed with another DAS_SECRET_KEY: set it back or post anew"""

    kind = Kind.UNAVAILABLE
