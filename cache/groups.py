"""Groups: entries whose answers were graded to be the same, and what each group's own grades say about it."""

from collections.abc import Sequence
from typing import Any, Final, Self

_MOST: Final = 50_000
"""Entries and groups that are remembered; the oldest leave, a tenth at a time."""


class Groups:
    """Union-find of entries, with a correction of the log odds for each group.

    The term is u = v R/(1 + v V), R = sum(y - p0), V = sum p0(1 - p0) over the group's grades y, v the variance of its
    normal prior: one Newton step to the most likely value, which works from the first grade.
    """

    def __init__(self, variance: float) -> None:
        self._variance = variance
        self._parents: dict[int, int] = {}
        self._sums: dict[int, tuple[float, float]] = {}

    def of(self, entry: int) -> int:
        """The group of an entry: one of its members; the entry itself where nothing is known."""
        parent = self._parents.get(entry)
        if parent is None:
            return entry
        root = self.of(parent)
        if root != parent:
            self._parents[entry] = root
        return root

    def join(self, kept: int, entry: int) -> None:
        """Both have the same answer."""
        group, other = self.of(entry), self.of(kept)
        if group == other:
            return
        self._parents[other] = group
        residual, variance = self._sums.pop(other, (0.0, 0.0))
        self._add(group, residual, variance)
        _trim(self._parents)

    def learn(self, entry: int, same: bool, p0: float) -> None:
        """A grade of the entry's answer, which the first stage alone had given p0."""
        self._add(self.of(entry), same - p0, p0 * (1 - p0))
        _trim(self._sums)

    def term(self, entry: int) -> float:
        """What to add to the log odds of an entry."""
        residual, variance = self._sums.get(self.of(entry), (0.0, 0.0))
        return self._variance * residual / (1 + self._variance * variance)

    def _add(self, group: int, residual: float, variance: float) -> None:
        before = self._sums.get(group, (0.0, 0.0))
        self._sums[group] = (before[0] + residual, before[1] + variance)

    def state(self) -> list[Any]:
        """All of it."""
        return [
            list(self._parents.items()),
            [(group, round(own, 4), round(variance, 4)) for group, (own, variance) in self._sums.items()],
        ]

    @classmethod
    def of_state(cls, variance: float, state: Sequence[Any]) -> Self:
        """That of a state."""
        found = cls(variance)
        found._parents = {int(entry): int(parent) for entry, parent in state[0]}
        found._sums = {int(group): (float(residual), float(own)) for group, residual, own in state[1]}
        return found


def _trim(held: dict[int, Any]) -> None:
    if len(held) > _MOST:
        for key in list(held)[: _MOST // 10]:
            del held[key]
