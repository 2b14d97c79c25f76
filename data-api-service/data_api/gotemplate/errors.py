"""What can be wrong with a template: its text, or what it does with its data.

errors.BadRequest
└── TemplateError              bad_data   Go's own words in `reason`
    ├── TemplateSyntax                    the text is no template
    └── TemplateFailed                    it cannot be rendered with this data
        └── TemplateTooLarge              it does or writes more than it may
"""

from data_api.errors import BadRequest

REASON_CHARS_MAX = 1000  # what quotes a tenant's text


class TemplateError(BadRequest):
    """The template cannot be used; facts: `reason`."""

    def describe(self) -> str:
        """Go's words: `template: name:1:23: …`."""
        reason = str(self.facts["reason"])
        return reason if len(reason) <= REASON_CHARS_MAX else f"{reason[:REASON_CHARS_MAX]}…"


class TemplateSyntax(TemplateError):
    """The text is no template"""


class TemplateFailed(TemplateError):
    """The template cannot be rendered with this data"""


class TemplateTooLarge(TemplateFailed):
    """The template does or writes more than it may"""


class CallFailed(Exception):
    """A template's function refuses its arguments; the message is what Go's function says."""
