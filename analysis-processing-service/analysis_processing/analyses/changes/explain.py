"""Why series changed, as far as the changed ones show it: labels they share, deploys."""

import re
from collections import Counter
from typing import Any

import numpy as np

from analysis_processing.analyses.block import SeriesResult
from analysis_processing.model import Labels

GROUPS_MAX = 10
GROUP_CHANGED_MIN = 3
CHANCE_MAX = 0.01
CAUSES_MAX = 20
# Names of series that change when something is deployed, restarted or configured.
CAUSE = re.compile(
    r"generation|_info$|version|start_time|_created|restart|deploy|rollout|reload", re.IGNORECASE
)


def shared_labels(labels: list[Labels], changed: list[Labels]) -> list[dict[str, Any]]:
    """The label values that changed series have more often than chance explains, clearest first.

    Each explains what those before it left unexplained, so that a zone and its pods are not told
    twice. chance: bound on the tail of the hypergeometric distribution (Hoeffding 1963), times the
    values that so many series have at all; at most CHANCE_MAX.
    """
    everywhere = Counter(pair for one in labels for pair in one.items())
    tried = sum(count >= GROUP_CHANGED_MIN for count in everywhere.values())
    series, groups = len(labels), list[dict[str, Any]]()
    while len(changed) >= GROUP_CHANGED_MIN and len(groups) < GROUPS_MAX:
        pairs = Counter(pair for one in changed for pair in one.items())
        names = sorted(pairs)
        inside = np.array([pairs[pair] for pair in names], dtype=np.float64)
        share = np.array([everywhere[pair] for pair in names]) / series
        bounds = np.minimum(tail_bound(inside, len(changed), share) + np.log(max(tried, 1)), 0.0)
        bounds[inside < GROUP_CHANGED_MIN] = 0.0
        best = int(np.argmin(bounds)) if names else 0
        if not names or bounds[best] > np.log(CHANCE_MAX):
            break
        label, value = names[best]
        groups.append(
            {
                "label": label,
                "value": value,
                "changed": int(inside[best]),
                "series": everywhere[names[best]],
                "chance": float(f"{np.exp(bounds[best]):.3g}"),
            }
        )
        changed = [one for one in changed if one.get(label) != value]
    return groups


def tail_bound(inside: "np.ndarray[Any, Any]", drawn: int, share: "np.ndarray[Any, Any]") -> Any:
    """Logarithm of a bound on the chance that of `drawn` series at least `inside` have a value.

    share: how many of all series have it; at least as many drawn ones as expected, or 0.
    """
    rate = inside / drawn
    with np.errstate(divide="ignore", invalid="ignore"):
        miss = np.where(rate < 1.0, (1.0 - rate) * np.log((1.0 - rate) / (1.0 - share)), 0.0)
        return np.where(rate > share, -drawn * (rate * np.log(rate / share) + miss), 0.0)


def causes(changed: list[SeriesResult]) -> list[dict[str, Any]]:
    """Changed series that tell of a deploy, a restart or a new configuration, in order of time."""
    events = [one for one in changed if CAUSE.search(one.labels.get("__name__", ""))]
    events.sort(key=lambda one: one.findings[0].start_ms)
    return [
        {"labels": one.labels, "start_ms": one.findings[0].start_ms, "text": one.findings[0].text}
        for one in events[:CAUSES_MAX]
    ]
