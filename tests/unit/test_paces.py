"""Whether a budget is spent faster than its window passes, and what is known of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from farthing.catalog import Budget, Window
from farthing.errors import LedgerUnavailable
from farthing.hold import Account, Hold
from farthing.money import Nano
from farthing.tags import Tags
from gateway.paces import Paces
from ledger.budgets import BudgetBook
from ledger.testing import example_intent

DAY_NS = 86_400 * 10**9
TAGS = Tags(tenant="acme", key_id="k", feature="f", run="job")
BUDGETS = (
    Budget(id="day", limit=Nano(1000), window=Window.DAY),
    Budget(id="run", limit=Nano(10), window=Window.RUN, per=("run",)),
    Budget(id="none", limit=Nano(0), window=Window.DAY, where=(("feature", "other"),)),
)


@dataclass
class Worker:
    """Paces at a share of the first day since 1970, with a ledger that says what a test wrote into `spent`."""

    elapsed: float = 0.5
    spent: dict[str, int] = field(default_factory=dict)
    broken: bool = False
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.paces = Paces(self._read)
        self.book = BudgetBook(BUDGETS)

    async def _read(self, accounts: Sequence[str]) -> Mapping[str, int]:
        if self.broken:
            raise LedgerUnavailable
        self.asked += accounts
        return {id_: self.spent[id_] for id_ in accounts if id_ in self.spent}

    @property
    def now_ns(self) -> int:
        return int(self.elapsed * DAY_NS)

    @property
    def account(self) -> Account:
        return self.book.accounts(TAGS, self.now_ns)[0]

    async def pressure(self) -> float | None:
        return await self.paces.pressure(self.book.accounts(TAGS, self.now_ns), self.book, self.now_ns)


async def test_pressure_is_the_share_spent_less_the_share_of_the_window_that_has_passed() -> None:
    worker = Worker(elapsed=0.5)
    worker.spent[worker.account.id] = 620

    assert await worker.pressure() == 0.1

    worker.elapsed = 0.75
    assert await worker.pressure() == 0.0


async def test_what_others_hold_counts_and_the_calls_own_worst_case_does_not() -> None:
    worker = Worker(elapsed=0.0)
    await worker.pressure()

    worker.paces.note(Hold(intent=example_intent("i", 300, worker.account), left=(Nano(600),)))

    assert await worker.pressure() == 0.1


async def test_a_look_takes_up_what_other_workers_have_spent() -> None:
    worker = Worker(elapsed=0.0)
    await worker.pressure()
    worker.spent[worker.account.id] = 510

    await worker.paces.look()

    assert await worker.pressure() == 0.5


async def test_accounts_that_no_call_draws_on_are_not_looked_at() -> None:
    worker = Worker()
    await worker.paces.look()
    await worker.pressure()
    await worker.paces.look()
    await worker.paces.look()

    assert worker.asked == [worker.account.id] * 2  # as it began, and at the look that followed


async def test_a_ledger_that_does_not_answer_puts_no_pressure_on_a_call() -> None:
    worker = Worker(elapsed=0.0, broken=True)

    assert await worker.pressure() == 0.0


async def test_where_no_budget_has_a_window_there_is_no_pressure_to_tell() -> None:
    worker = Worker()
    worker.book = BudgetBook(BUDGETS[1:])

    assert await worker.pressure() is None
