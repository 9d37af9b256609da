"""Budget desk: what one worker knows of budgets beyond its configuration, and what it does at each hold and refusal."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from farthing.catalog import Window
from farthing.errors import BudgetExceeded, LedgerUnavailable
from farthing.hold import Account, Hold
from farthing.money import Nano
from farthing.tags import Tags
from gateway.paces import Paces
from gateway.tasks import Background
from gateway.thresholds import Tell, Thresholds
from ledger import runs
from ledger.amendments import SharedAmendments
from ledger.budgets import BudgetBook
from ledger.database import Database

_MOST_REFUSED: Final = 10_000


class BudgetDesk:
    """Belongs to the loop, and never blocks it. `book` gives the budgets of the present configuration, which are to be
    read with this desk's `amendments`; `tell` is told of thresholds."""

    def __init__(
        self,
        database: Database,
        amendments: SharedAmendments,
        background: Background,
        *,
        book: Callable[[], BudgetBook],
        tell: Tell,
    ) -> None:
        self._database, self._background, self._book = database, background, book
        self.amendments = amendments
        self.thresholds = Thresholds(tell, self._spent)
        self.paces = Paces(self._spent)
        self._refused: dict[tuple[str, str], Nano] = {}
        self._writing = asyncio.Lock()

    async def know(self, tags: Tags) -> None:
        """See to it that `accounts` tells how things stand now. Raises LedgerUnavailable."""
        if tags.run:
            await self.amendments.know(tags.tenant, tags.run)

    def accounts(self, tags: Tags, now_ns: int) -> tuple[Account, ...]:
        """The accounts that bind a call. Raises RunClosed, LedgerUnavailable."""
        return self._book().accounts(tags, now_ns)

    def on_hold(self, hold: Hold) -> None:
        """Take up what a reservation has shown."""
        by_budget = self._book().thresholds
        if by_budget:
            self.thresholds.note(hold, by_budget)
        self.paces.note(hold)
        if self._refused:
            self._resume(hold)

    async def on_refusal(self, tags: Tags, refusal: BudgetExceeded) -> None:
        """Look at raises and runs again, since the refusal may be out of date; if it is not, its run is paused."""
        await self.take_up()
        if tags.run and refusal.budget["window"] == Window.RUN:
            self._pause(tags, refusal)

    async def take_up(self) -> None:
        """Take up what has been changed; if the ledger does not answer now, the next look does it."""
        with suppress(LedgerUnavailable):
            await self.amendments.refresh()

    async def look(self) -> None:
        """Once a second: take up what other workers have changed and spent. Raises LedgerUnavailable."""
        await self.amendments.refresh()
        await self.thresholds.look()
        await self.paces.look()

    async def _spent(self, accounts: Sequence[str]) -> Mapping[str, int]:
        return {id_: drawn.spent for id_, drawn in (await self.amendments.balances(accounts)).items()}

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
            await asyncio.to_thread(runs.refuse, self._database, tenant=run[0], name=run[1], needed=needed)
