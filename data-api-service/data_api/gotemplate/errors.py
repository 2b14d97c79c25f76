"""What can be wrong with a template.

errors.BadRequest
└── TemplateError              bad_data   its text is no template, or fails with this data
    └── TemplateTooLarge                  it does or writes more than it may
"""

from data_api.errors import BadRequest

REASON_CHARS_MAX = 1000  # what quotes a tenant's text


class TemplateError(BadRequest):
    """The template cannot be used; facts: `reason`."""

    def describe(self) -> str:
        """Go's words: `template: name:1:23: …`."""
        reason = str(self.facts["reason"])
        return reason if len(reason) <= REASON_CHARS_MAX else f"{reason[:REASON_CHARS_MAX]}…"


class TemplateTooLarge(TemplateError):
    """The template does or writes more than it may"""


class CallFailed(Exception):
    """A template's function refuses its arguments; the message is what Go's function says."""
