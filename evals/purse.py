"""Purse: what a run may spend, counting each open question at the dearest answer that its tier has given so far."""

from farthing.money import ZERO, Nano


class Purse:
    """`budget` in nano-dollars, None for no limit. Each `opened` question is `closed` with its cost."""

    def __init__(self, budget: Nano | None) -> None:
        self.budget = budget
        self.spent: Nano = ZERO
        self._dearest: dict[str, Nano] = {}
        self._open: dict[str, int] = {}

    def affords(self, tier: str) -> bool:
        """True while the budget covers what is spent, what is open and one question more to this tier."""
        if self.budget is None:
            return True
        open_ = sum(count * self._dearest.get(one, ZERO) for one, count in self._open.items())
        return self.spent < self.budget and self.spent + open_ + self._dearest.get(tier, ZERO) <= self.budget

    def opened(self, tier: str) -> None:
        """A question is on its way."""
        self._open[tier] = self._open.get(tier, 0) + 1

    def closed(self, tier: str, cost: Nano) -> None:
        """Its answer is there, or none will come."""
        self._open[tier] -= 1
        self.spent = Nano(self.spent + cost)
        self._dearest[tier] = max(self._dearest.get(tier, ZERO), cost)

    def paid(self, cost: Nano) -> None:
        """Something was paid that nobody had opened: a grader's question."""
        self.spent = Nano(self.spent + cost)
