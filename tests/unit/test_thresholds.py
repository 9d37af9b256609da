"""Which step a budget has reached, when it is told, and when it is left again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from farthing.catalog import Step, Threshold
from farthing.errors import LedgerUnavailable
from farthing.hold import Account, Hold
from farthing.money import Nano
from farthing.value import changed
from gateway import thresholds as module
from gateway.thresholds import Reached, Thresholds
from ledger.testing import example_account, example_intent

NOTIFY, DOWNGRADE, CHEAPEST = (
    Threshold(at=Decimal("0.5"), do=Step.NOTIFY),
    Threshold(at=Decimal("0.8"), do=Step.DOWNGRADE),
    Threshold(at=Decimal("0.95"), do=Step.CHEAPEST),
)
LADDER = (NOTIFY, DOWNGRADE, CHEAPEST)
BY_BUDGET = {"b": LADDER}
ACCOUNT = example_account(limit=1000)


@dataclass
class Worker:
    """Thresholds with a ledger that says what a test wrote into `spent`, and an ear."""

    spent: dict[str, int] = field(default_factory=dict)
    told: list[tuple[str, Threshold, int]] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self.thresholds = Thresholds(self._hear, self._read)

    def _hear(self, account: Account, threshold: Threshold, used: int) -> None:
        self.told.append((account.id, threshold, used))

    async def _read(self, accounts: Sequence[str]) -> Mapping[str, int]:
        if self.broken:
            raise LedgerUnavailable
        return {id_: self.spent[id_] for id_ in accounts if id_ in self.spent}

    def see(self, used: int, *, amount: int = 7, account: Account = ACCOUNT) -> None:
        """A reservation of `amount` beside `used` nano-dollars that are spent or held by others."""
        left = Nano(account.limit - used - amount)
        self.thresholds.note(Hold(intent=example_intent("i", amount, account), left=(left,)), BY_BUDGET)

    async def step(self, *accounts: Account) -> Step | None:
        reached = await self.thresholds.reached(accounts or (ACCOUNT,), BY_BUDGET)
        return reached.do if reached else None


@pytest.mark.parametrize(
    ("used", "step"),
    [(0, None), (799, None), (800, Step.DOWNGRADE), (949, Step.DOWNGRADE), (950, Step.CHEAPEST), (1200, Step.CHEAPEST)],
)
async def test_a_step_is_reached_at_its_share_of_the_limit(used: int, step: Step | None) -> None:
    worker = Worker()

    worker.see(used)

    assert await worker.step() is step


async def test_the_worst_case_of_the_call_itself_does_not_push_it_over() -> None:
    worker = Worker()

    worker.see(100, amount=900)

    assert await worker.step() is None


async def test_a_share_that_is_no_whole_nano_dollar_is_rounded_up() -> None:
    worker = Worker()
    account = example_account(limit=3)  # 0.8 of it is 2.4

    worker.see(2, account=account)
    before = await worker.step(account)
    worker.see(3, account=account)

    assert (before, await worker.step(account)) == (None, Step.CHEAPEST)


def test_each_threshold_is_told_once_though_the_fill_swings() -> None:
    worker = Worker()

    for used in (400, 500, 300, 600, 820, 700, 830):
        worker.see(used)

    assert worker.told == [(ACCOUNT.id, NOTIFY, 500), (ACCOUNT.id, DOWNGRADE, 820)]


async def test_a_new_window_begins_without_a_step() -> None:
    worker = Worker()
    tomorrow = example_account("b|tenant=acme|day|2027-01-16", limit=1000)

    worker.see(990)

    assert (await worker.step(), await worker.step(tomorrow)) == (Step.CHEAPEST, None)


async def test_a_raised_limit_is_weighed_anew_at_once() -> None:
    worker = Worker()
    worker.see(960)

    raised = changed(ACCOUNT, limit=Nano(1100))

    assert (await worker.step(), await worker.step(raised)) == (Step.CHEAPEST, Step.DOWNGRADE)


async def test_changed_thresholds_are_weighed_anew() -> None:
    worker = Worker()
    worker.see(960)

    reached = await worker.thresholds.reached((ACCOUNT,), {"b": (Threshold(at=Decimal("0.9"), do=Step.DOWNGRADE),)})

    assert reached == Reached(budget="b", percent="90%", do=Step.DOWNGRADE)


async def test_the_strictest_step_of_all_accounts_counts() -> None:
    worker = Worker()
    other = example_account("b|tenant=other|day|2027-01-15", limit=1000)
    worker.see(960)
    worker.see(810, account=other)

    assert await worker.step(ACCOUNT, other) is await worker.step(other, ACCOUNT) is Step.CHEAPEST


async def test_an_account_is_looked_up_when_it_is_first_seen() -> None:
    worker = Worker(spent={ACCOUNT.id: 850})

    assert await worker.step() is Step.DOWNGRADE


async def test_what_others_have_spent_is_seen_at_the_next_look() -> None:
    worker = Worker()
    worker.see(10)

    worker.spent[ACCOUNT.id] = 970
    await worker.thresholds.look()

    assert await worker.step() is Step.CHEAPEST
    assert [threshold for _, threshold, _ in worker.told] == list(LADDER)


async def test_a_ledger_that_does_not_answer_changes_no_route() -> None:
    worker = Worker(broken=True)

    assert await worker.step() is None


async def test_nothing_used_of_a_limit_of_zero_reaches_nothing() -> None:
    worker = Worker()
    nothing = example_account(limit=0)

    worker.see(0, amount=0, account=nothing)

    assert (await worker.step(nothing), worker.told) == (None, [])


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ACCOUNTS", 3)
    worker = Worker()

    for number in range(10):
        worker.see(990, account=example_account(f"b|run={number}|run|", limit=1000))

    assert await worker.step(example_account("b|run=0|run|", limit=1000)) is None, "forgotten"
    assert await worker.step(example_account("b|run=9|run|", limit=1000)) is Step.CHEAPEST
