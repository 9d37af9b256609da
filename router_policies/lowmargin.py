"""Low margin: tells when requests of a task grow unlike the examples by which the task is known.

An e-detector in the form of Shiryaev and Roberts: while a share of `usual` or less of the requests is of low margin,
each bet's M grows by one a request on average, so that the mean run to a false alarm is ALARM requests at least.
"""

from typing import Final

BETS: Final = 8
ALARM: Final = 1_000.0
_CEILING: Final = 100 * ALARM
"""Of M, so that some fifty usual requests end an alarm, however long it lasted."""
_BOLDEST: Final = 0.95
_SLACK: Final = 0.05
_MOST: Final = 0.9


class LowMargins:
    """Of one task. `usual` is the share of low margins that is no news, in (0, 1)."""

    def __init__(self, usual: float) -> None:
        self.usual = usual
        self.seen = self.low = 0
        self._bets = [bet / BETS * _BOLDEST / usual for bet in range(1, BETS + 1)]
        self._levels = [0.0] * BETS

    def add(self, *, low: bool) -> None:
        """One more request of the task."""
        self.seen += 1
        self.low += low
        edge = low - self.usual
        self._levels = [
            min(_CEILING, (level + 1) * (1 + bet * edge)) for level, bet in zip(self._levels, self._bets, strict=True)
        ]

    @property
    def alarms(self) -> bool:
        """Whether more requests are of low margin than is usual."""
        return sum(self._levels) / BETS >= ALARM


def usual_share(highest: float) -> float:
    """The share that is no news, where held-out examples allow up to `highest`: traffic is never quite like them."""
    return min(_MOST, highest + _SLACK)
