"""Purse: what a run may spend, counting each open question at the dearest answer that its tier has given so far."""

from collections.abc import Callable

from farthing.money import NANO_PER_USD, ZERO, Nano


class Purse:
    """`budget` in nano-dollars, None for no limit. Each `opened` question is `closed` with its cost. `note` is told
    what has been spent in all whenever something was paid."""

    def __init__(self, budget: Nano | None, note: Callable[[Nano], None] = lambda _spent: None) -> None:
        self.budget = budget
        self._note = note
        self.spent: Nano = ZERO
        self._dearest: dict[str, Nano] = {}
        self._open: dict[str, int] = {}
        self._dearest_grade: Nano = ZERO

    def affords(self, tier: str) -> bool:
        """True while the budget covers what is spent, what is open and one question more to this tier."""
        if self.budget is None:
            return True
        open_ = sum(count * self._dearest.get(one, ZERO) for one, count in self._open.items())
        return self.spent < self.budget and self.spent + open_ + self._dearest.get(tier, ZERO) <= self.budget

    @property
    def affords_grade(self) -> bool:
        """True while the budget covers what is spent and one grade more of those that somebody has to be asked for."""
        return self.budget is None or (self.spent < self.budget and self.spent + self._dearest_grade <= self.budget)

    @property
    def refusal(self) -> str:
        """What a run says that stops here."""
        usd = f"{(self.budget or ZERO) / NANO_PER_USD:f}".rstrip("0").rstrip(".")
        return f"the budget of {usd} USD does not reach further"

    def opened(self, tier: str) -> None:
        """A question is on its way."""
        self._open[tier] = self._open.get(tier, 0) + 1

    def closed(self, tier: str, cost: Nano) -> None:
        """Its answer is there, or none will come."""
        self._open[tier] -= 1
        self.paid(cost)
        self._dearest[tier] = max(self._dearest.get(tier, ZERO), cost)

    def paid(self, cost: Nano) -> None:
        """Something was paid that nobody had opened."""
        if cost:
            self.spent = Nano(self.spent + cost)
            self._note(self.spent)

    def graded(self, cost: Nano) -> None:
        """The same for the questions of one grade."""
        self._dearest_grade = max(self._dearest_grade, cost)
        self.paid(cost)
