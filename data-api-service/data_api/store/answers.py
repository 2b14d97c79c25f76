"""Answers that are given again while what they were made of is there, and nothing more.

A dashboard that a second person opens, or that is drawn again, asks what was asked before; of a
time that is over nothing changes but what comes late. An answer is kept beside the names of all
blocks and batches that its query could read, none of which ever change, and is given only where the
same query could read exactly those: it is the one that would be computed, byte for byte.
"""

import contextlib
import pickle
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from data_api.model import Cost
from data_api.store.cache import ByteCache

WORTH_S: Final = 0.002  # of CPU: what took less is computed again
SHARE_MAX: Final = 8  # an answer may take this part of the budget
REPEATED: Final = Counter("cloudopshub_query_answers_repeated_total", "Answers given again.")


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """What is asked, and what makes the answer of it."""

    question: Hashable
    render: object

    def rendering(self) -> bytes | None:
        """`render` by value; None where that is a function without a name."""
        with contextlib.suppress(pickle.PicklingError, AttributeError, TypeError):
            return pickle.dumps(self.render)
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """The pieces of an answer, and what it was made of and by."""

    pieces: list[bytes]
    rendering: bytes
    made_of: Hashable
    series: int
    samples: int


class Answers:
    """Answers by what was key."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._answers: ByteCache[Hashable, Answer] = ByteCache(
            "answer", bytes_max, lambda answer: sum(map(len, answer.pieces))
        )

    def again(
        self, key: AnswerKey, made_of: Callable[[], Hashable], cost: Cost
    ) -> list[bytes] | None:
        """The answer to what `key` asks, where it was made of the same; it counts as read."""
        answer = self._answers.find(key.question)
        if answer is None or answer.rendering != key.rendering() or answer.made_of != made_of():
            return None
        cost.series, cost.samples = answer.series, answer.samples
        REPEATED.inc()
        return answer.pieces

    def keep(
        self, key: AnswerKey, made_of: Callable[[], Hashable], answer: object, cost: Cost
    ) -> None:
        """`answer` may be given again, if it is in pieces and was worth its memory."""
        if not isinstance(answer, list) or cost.cpu_s < WORTH_S:
            return
        size = sum(map(len, answer))
        if size > self._bytes_max // SHARE_MAX or not all(isinstance(one, bytes) for one in answer):
            return
        if (rendering := key.rendering()) is not None:
            entry = Answer(answer, rendering, made_of(), cost.series, cost.samples)
            self._answers.put(key.question, entry)
