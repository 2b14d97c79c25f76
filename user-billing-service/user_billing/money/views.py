"""Amounts as JSON shows them: decimal text with all decimals of the currency."""

from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from user_billing.money import rules as money


class View(BaseModel):
    """An answer whose fields are attributes of a row or of one of our objects."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, facts: object, currency: str | None = None) -> Self:
        """The answer. currency: of amounts that have none beside them."""
        return cls.model_validate(facts, context={"currency": currency})


def _text(minor: Any, info: ValidationInfo) -> str:
    currency = info.data.get("currency") or (info.context or {}).get("currency")
    assert isinstance(currency, str), "amounts have a currency"
    return money.text(int(minor), currency)


Minor: TypeAlias = Annotated[str, BeforeValidator(_text)]
"""Of whole minor units; their currency is a field before it, or that of `View.of`."""
