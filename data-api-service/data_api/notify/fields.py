"""Fields of the configuration: what one text must be, and what it is then."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from data_api.gotemplate import durations
from data_api.model import Matcher
from data_api.notify import matchers, texts
from data_api.notify.errors import BadMatcher

MASK: Final = "<secret>"
DURATION_MS_MAX: Final = 31_536_000_000


def duration_ms(text: Any) -> int:
    """Milliseconds of `1m30s`, at most a year; `0` is none."""
    total = durations.parse(str(text))
    if total > DURATION_MS_MAX:
        raise ValueError("expected a duration of at most 1y")
    return total


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected a URL that begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("a credential in the URL is not taken: give it in http_config")
    _ = parts.port  # ValueError where it is none
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a URL has no blanks and no characters beyond ASCII")
    return text


def _secret_url(secret: SecretStr) -> SecretStr:
    _url(secret.get_secret_value())
    return secret


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not host or not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("expected host:port")
    return text


def _not_masked(secret: SecretStr) -> SecretStr:
    if secret.get_secret_value() == MASK:
        raise ValueError(f"{MASK} stands for a secret that is not shown: give the secret itself")
    return secret


def _matchers(given: Any) -> tuple[Matcher, ...]:
    if not isinstance(given, list):
        raise ValueError('expected a list, as [severity="page"]')  # noqa: TRY004 - for pydantic
    try:
        return matchers.parse_all(map(str, given))
    except BadMatcher as exc:
        raise ValueError(exc.facts["detail"]) from None


Duration = Annotated[int, BeforeValidator(duration_ms)]
Positive = Annotated[int, BeforeValidator(duration_ms), Field(gt=0)]
Url = Annotated[str, AfterValidator(_url)]
Secret = Annotated[SecretStr, AfterValidator(_not_masked)]
SecretUrl = Annotated[Secret, AfterValidator(_secret_url)]
Address = Annotated[str, AfterValidator(_address)]
Text = Annotated[str, AfterValidator(texts.check)]
"""A Go template."""
MatcherList = Annotated[tuple[Matcher, ...], BeforeValidator(_matchers)]


class Strict(BaseModel):
    """A mapping with these keys and no others; a key without a value is as if it were not there."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def only_known(cls, given: Any) -> Any:
        """What is given, without empty keys; ValueError names those that are not known."""
        if not isinstance(given, Mapping):
            raise ValueError("expected a mapping")  # noqa: TRY004 - pydantic reports ValueErrors
        allowed = sorted(field.alias or name for name, field in cls.model_fields.items())
        if unknown := sorted(map(str, given.keys() - set(allowed))):
            text = "{key}: not known here; allowed: {allowed}"
            facts = {"key": unknown[0], "allowed": ", ".join(allowed)}
            raise PydanticCustomError("unknown_key", text, facts)
        return {name: value for name, value in given.items() if value is not None}
