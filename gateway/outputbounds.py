"""Output bounds: how long answers were lately, by feature and model, as the first hold of the next stream."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from typing import Final

from farthing.record import Outcome, Record
from farthing.usage import Usage, UsageSource

LEAST_SAMPLES: Final = 200
"""Fewer answers say too little about the hundredth."""
_KEPT: Final = 1000
_PERCENT: Final = 99
_MARGIN_PERCENT: Final = 150


class _Sizes:
    """The latest output totals in tokens, in their order of time and in that of size."""

    __slots__ = ("_latest", "_sorted")

    def __init__(self) -> None:
        self._latest: deque[int] = deque()
        self._sorted: list[int] = []

    def add(self, size: int) -> None:
        if len(self._latest) == _KEPT:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(size)
        insort(self._sorted, size)

    def bound(self) -> int | None:
        """The nearest-rank percentile and its margin, tokens; None with too few samples."""
        count = len(self._sorted)
        if count < LEAST_SAMPLES:
            return None
        rank = -(-count * _PERCENT // 100)
        return -(-self._sorted[rank - 1] * _MARGIN_PERCENT // 100)


class OutputBounds:
    """Learns from records what it has been asked about once. A model whose output cannot be seen as it comes (hidden
    reasoning, audio, an answer in one piece) has no bound: its stream could not be stopped in time."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str], _Sizes] = {}
        self._unseen: set[tuple[str, str]] = set()

    def bound(self, feature: str, model: str) -> int | None:
        """Tokens that nearly all answers of the feature by the model stay below, all choices together; None where
        that is not known."""
        pair = feature, model
        if pair in self._unseen:
            return None
        return self._sizes.setdefault(pair, _Sizes()).bound()

    def learn(self, record: Record) -> None:
        """Take a finished answer into account, where the provider has counted it."""
        sizes = self._sizes.get((record.tags.feature, record.model_served))
        if sizes is None or record.usage.source is not UsageSource.PROVIDER or record.cache.is_hit:
            return
        if record.outcome is Outcome.SUCCESS:
            self._add(record.tags.feature, record.model_served, record.usage)

    def seed(self, answers: Iterable[tuple[str, str, Usage]]) -> None:
        """Begin with earlier answers, oldest first: feature, model and usage of each."""
        for feature, model, usage in answers:
            self._sizes.setdefault((feature, model), _Sizes())
            self._add(feature, model, usage)

    def distrust(self, feature: str, model: str) -> None:
        """Give no bound for the pair any more: its output came otherwise than in tokens that can be seen."""
        self._unseen.add((feature, model))

    def _add(self, feature: str, model: str, usage: Usage) -> None:
        if usage.reasoning or usage.output_audio:
            self.distrust(feature, model)
        self._sizes[feature, model].add(usage.output_total)
