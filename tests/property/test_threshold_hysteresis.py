"""A step of a budget is left only with its window or its limit, however the fill swings."""

import asyncio
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Step
from farthing.money import Nano
from ledger.testing import example_account
from tests.unit.test_thresholds import LADDER, Worker

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 1200)),
        st.tuples(st.just("look"), st.integers(0, 1200)),
        st.tuples(st.just("limit"), st.sampled_from([500, 1000, 2000])),
        st.tuples(st.just("window"), st.integers(0, 2)),
    ),
    max_size=50,
)


@dataclass
class Known:
    """The same account in the plainest words: its limit, the last figure, and the highest since the limit changed."""

    limit: int = 1000
    last: int = 0
    highest: int = 0

    def use(self, used: int) -> None:
        self.last, self.highest = used, max(self.highest, used)

    def step(self) -> Step | None:
        reached = [one.do for one in LADDER if self.highest > 0 and self.highest >= one.at * self.limit]
        return reached[-1] if reached and reached[-1] is not Step.NOTIFY else None


@given(events=EVENTS)
def test_a_step_is_left_only_at_a_new_window_or_limit_and_none_is_missed(events: list[tuple[str, int]]) -> None:
    asyncio.run(_compare(events))


async def _compare(events: list[tuple[str, int]]) -> None:
    worker, windows, window = Worker(), {0: Known()}, 0
    for kind, value in events:
        if kind == "window":
            window = value
            windows.setdefault(window, Known())
        known = windows[window]
        if kind == "limit" and value != known.limit:
            known.limit, known.highest = value, known.last
        account = example_account(f"b|tenant=acme|day|{window}", limit=Nano(known.limit))
        if kind == "reserve":
            worker.see(value, account=account)
            known.use(value)
        elif kind == "look":
            worker.spent[account.id] = value
            await worker.step(account)
            await worker.thresholds.look()
            for number, other in windows.items():
                other.use(worker.spent.get(f"b|tenant=acme|day|{number}", 0))

        assert await worker.step(account) is known.step()


@given(events=EVENTS)
def test_no_threshold_is_told_twice_under_one_limit(events: list[tuple[str, int]]) -> None:
    worker = Worker()
    asyncio.run(_play(worker, events))

    assert len(worker.told) == len({threshold.at for _, threshold, _ in worker.told})


async def _play(worker: Worker, events: list[tuple[str, int]]) -> None:
    for kind, value in events:
        if kind == "reserve":
            worker.see(value)
        elif kind == "look":
            worker.spent["b|tenant=acme|day|2027-01-15"] = value
            await worker.thresholds.look()
