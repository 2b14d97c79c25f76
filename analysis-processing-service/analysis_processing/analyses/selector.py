"""Labels that must be equal, as people write them."""

import json
import re

from analysis_processing.model import Labels

SELECTOR = re.compile(r'([^\s{}"=,()]*)\s*(?:\{(.*)\})?', re.DOTALL)
QUOTED = r'"(?:[^"\\]|\\["\\/bfnrt])*"'
MATCHER = re.compile(rf'\s*([^\s="{{}},!~]+|{QUOTED})\s*=\s*({QUOTED})\s*(?:,\s*|$)')


def selected_labels(text: str) -> Labels:
    """The labels of `{a="b"}`, `name{a="b"}`, `name`, or JSON; ValueError says what it is not."""
    try:
        name, rest, labels = "", "", json.loads(text)
    except (ValueError, RecursionError):
        split = SELECTOR.fullmatch(text.strip())
        if split is None:
            raise ValueError(f"no selector: {text[:60]}") from None
        name, rest, labels = split[1], (split[2] or "").strip(), {}
    if name:
        labels["__name__"] = name
    while rest:
        match = MATCHER.match(rest)
        if match is None:
            raise ValueError(f'no list of label="value": {rest[:60]}')
        label, value = (
            json.loads(one, strict=False) if one.startswith('"') else one for one in match.groups()
        )
        labels[label] = value
        rest = rest[match.end() :]
    if not isinstance(labels, dict) or not all(
        isinstance(one, str) and "\0" not in one for pair in labels.items() for one in pair
    ):
        raise ValueError("labels of which one is no text, or holds a NUL")
    return labels
