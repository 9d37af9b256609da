"""Budget desk: what one worker knows of budgets beyond its configuration, and what it does at each hold and refusal."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from farthing.catalog import Window
from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.hold import Account, Hold
from farthing.money import Nano
from farthing.ports import Clock
from farthing.tags import Tags
from gateway.tasks import Background
from gateway.thresholds import Tell, Thresholds
from ledger import runs
from ledger.amendment_file import AmendmentFile
from ledger.budgets import BudgetBook

_MOST_REFUSED: Final = 10_000


class BudgetDesk:
    """Belongs to the loop. `book` gives the budgets of the present configuration, which are to be read with this
    desk's `amendments`; `tell` is told of thresholds."""

    def __init__(
        self, ledger_path: Path, clock: Clock, background: Background, *, book: Callable[[], BudgetBook], tell: Tell
    ) -> None:
        self._path, self._background, self._book = ledger_path, background, book
        self.amendments = AmendmentFile(ledger_path, clock)
        self.thresholds = Thresholds(tell, self._spent)
        self._refused: dict[tuple[str, str], Nano] = {}
        self._writing = asyncio.Lock()

    def accounts(self, tags: Tags, now_ns: int) -> tuple[Account, ...]:
        """The accounts that bind a call. Raises RunClosed, LedgerUnavailable."""
        return self._book().accounts(tags, now_ns)

    def on_hold(self, hold: Hold) -> None:
        """Take up what a reservation has shown."""
        by_budget = self._book().thresholds
        if by_budget:
            self.thresholds.note(hold, by_budget)
        if self._refused:
            self._resume(hold)

    def on_refusal(self, tags: Tags, refusal: BudgetExceeded) -> None:
        """Look at raises and runs again, since the refusal may be out of date; if it is not, its run is paused."""
        self.take_up()
        if tags.run and refusal.budget["window"] == Window.RUN:
            self._pause(tags, refusal)

    def take_up(self) -> None:
        """Take up what has been changed; if the file does not answer now, the next look does it."""
        with suppress(LedgerUnavailable):
            self.amendments.refresh()

    def look(self) -> None:
        """Once a second: take up what other workers have changed and spent. Raises LedgerUnavailable."""
        self.amendments.refresh()
        self.thresholds.look()

    def close(self) -> None:
        """Let the ledger's file go."""
        self.amendments.close()

    def _spent(self, accounts: Sequence[str]) -> Mapping[str, int]:
        return {id_: balance.spent for id_, balance in self.amendments.balances(accounts).items()}

    def _pause(self, tags: Tags, refusal: BudgetExceeded) -> None:
        """Write down what did not fit, where the run would not look paused without it; so a client that asks again and
        again causes one write."""
        run = (tags.tenant, tags.run)
        known = self._refused.get(run)
        if known is not None and refusal.left < known:
            return
        if len(self._refused) >= _MOST_REFUSED:
            self._refused.clear()
        self._refused[run] = refusal.needed
        self._background.spawn(self._write_down(run, refusal.needed))

    def _resume(self, hold: Hold) -> None:
        """A run of which a call was held after one was refused is not stuck."""
        tags = hold.intent.draft.tags
        if self._refused.pop((tags.tenant, tags.run), None) is not None:
            self._background.spawn(self._write_down((tags.tenant, tags.run), None))

    async def _write_down(self, run: tuple[str, str], needed: Nano | None) -> None:
        async with self._writing:  # first come, first written
            await asyncio.to_thread(runs.refuse, self._path, tenant=run[0], name=run[1], needed=needed)
