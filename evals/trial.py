"""Trial: a candidate before the gate, with its answers in the suite's order."""

from collections.abc import Sequence

from evals.desk import Desk
from evals.gate import Evidence, Gate, Pace, Rule
from evals.suite import Item
from evals.verdicts import mean_score


class Trial:
    """A candidate before the gate: its answers, and the reference's where they are compared, in the suite's order."""

    def __init__(self, rule: Rule, pieces: Sequence[tuple[Item, ...]], desk: Desk, reference: Desk | None) -> None:
        self._rule, self._pieces = rule, pieces
        self._desk, self._reference = desk, reference
        self._desks = (desk,) if reference is None else (reference, desk)
        self._begin()

    def _begin(self) -> None:
        self._gate, self._position = Gate(self._rule), 0
        self._since = [desk.since_ns for desk in self._desks]

    def advance(self) -> bool:
        """Tell the gate of every piece whose answers are complete, up to the first that is not; True where it has
        decided or there is nothing left."""
        if self._reference is not None and self._desk.since_ns < self._reference.since_ns:
            self._desk.begin_anew()  # pairs of two different references are not one test
        if self._since != [desk.since_ns for desk in self._desks]:
            self._begin()
        while self._position < len(self._pieces) and not self._gate.is_decided:
            piece = self._pieces[self._position]
            if any(desk.lacks(item) for desk in self._desks for item in piece):
                return False
            self._gate.see(mean_of(self._desk, piece), mean_of(self._reference, piece) if self._reference else None)
            self._position += 1
        return True

    @property
    def pace(self) -> Pace:
        """How far its test has come."""
        return self._gate.pace

    @property
    def evidence(self) -> Evidence:
        """Where the candidate stands."""
        return self._gate.evidence()

    def wanted(self, most: int) -> list[tuple[Desk, Item]]:
        """The next questions without an answer, in the suite's order."""
        return self._lacking(most)

    def trouble(self) -> str:
        """Why the next question is not asked any more; empty where it is."""
        return next((desk.trouble(item) for desk, item in self._lacking(1)), "")

    def _lacking(self, most: int) -> list[tuple[Desk, Item]]:
        found: list[tuple[Desk, Item]] = []
        for piece in self._pieces[self._position :]:
            found += [(desk, item) for item in piece for desk in self._desks if desk.lacks(item)]
            if len(found) >= most:
                break
        return found[:most]


def mean_of(desk: Desk, piece: Sequence[Item]) -> float:
    """The mean score of the items of a piece, all of which are answered."""
    return mean_score(desk.answered[item.hash] for item in piece)
