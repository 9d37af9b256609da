"""Money is conserved: whatever the order of events, the accounts are the sum of the records and of the open holds."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farthing.errors import BudgetExceeded
from farthing.hold import Account, Hold
from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome
from farthing.tags import Tags
from farthing.usage import TOKEN_CLASSES, Usage
from ledger import reports
from ledger.groupcommit import GroupCommit
from ledger.testing import ManualClock, MemoryLedger, example_account, example_intent, example_record
from tests.ledgers import Engine

ACCOUNTS = tuple(
    example_account(f"b{number}|tenant=acme|day|d", limit=limit) for number, limit in enumerate((100, 150, 300))
)

reservations = st.tuples(
    st.just("reserve"), st.integers(0, 80), st.sets(st.integers(0, 2)), st.sampled_from((5, 50)), st.booleans()
)
settlements = st.tuples(st.just("settle"), st.integers(0, 20), st.integers(0, 100), st.integers(0, 2))
steps = st.lists(st.one_of(reservations, settlements, st.just(("wait",)), st.just(("together",))), max_size=40)


def quick(engine: Engine) -> settings:
    return engine.tries(40, suppress_health_check=[HealthCheck.too_slow])


class Script:
    """Plays the same steps to any ledger."""

    def __init__(self, ledger: GroupCommit | MemoryLedger, clock: ManualClock) -> None:
        self.ledger, self.clock = ledger, clock
        self.holds: list[Hold] = []
        self.refusals = 0

    async def play(self, step: tuple[Any, ...], number: int) -> None:
        match step:
            case ("reserve", amount, picks, seconds, _):
                await self._reserve(f"c{number}", amount, tuple(ACCOUNTS[pick] for pick in sorted(picks)), seconds)
            case ("settle", which, percent, times) if self.holds:
                hold = self.holds[which % len(self.holds)]
                cost = Nano(hold.intent.amount * percent // 100)
                record = example_record(hold.intent.id, cost=cost)
                await asyncio.gather(*(self.ledger.settle(hold, record) for _ in range(times + 1)))
            case ("wait",):
                self.clock.advance(20)
                await self.ledger.recover()
            case ("together",):
                record = example_record(f"n{number}", outcome=Outcome.HIT, cache=CacheOutcome.EXACT)
                await asyncio.gather(
                    self.ledger.settle(None, record), self._reserve(f"t{number}", 10, ACCOUNTS[:1], 50)
                )

    async def _reserve(self, id_: str, amount: int, accounts: tuple[Account, ...], seconds: int) -> None:
        expires_ns = self.clock.wall_ns() + seconds * 10**9
        try:
            self.holds.append(await self.ledger.reserve(example_intent(id_, amount, *accounts, expires_ns=expires_ns)))
        except BudgetExceeded:
            self.refusals += 1


def every_class(tokens: int) -> Usage:
    figures: dict[str, Any] = dict.fromkeys(TOKEN_CLASSES, tokens)
    return Usage(**figures)


def books_of(engine: Engine) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    balances: dict[str, tuple[int, int]]
    states = reports.budget_states(engine.database, now_ns=0)
    balances = {state.account.id: (state.spent, state.held) for state in states if state.spent or state.held}
    return balances, {record.id: record.cost for record in reports.recent(engine.database, 1000)}


def expected_balances(memory: MemoryLedger) -> dict[str, tuple[int, int]]:
    ids = {account.id for account in ACCOUNTS}
    pairs = {id_: (memory.spent.get(id_, 0), memory.held.get(id_, 0)) for id_ in ids}
    return {id_: pair for id_, pair in pairs.items() if any(pair)}


def test_accounts_are_the_sum_of_settled_costs_and_open_holds_and_never_pass_their_limit(engine: Engine) -> None:
    async def work(steps: list[tuple[Any, ...]]) -> None:
        clock = ManualClock()
        script = Script(await engine.open(clock), clock)
        for number, step in enumerate(steps):
            await script.play(step, number)
            balances, costs = books_of(engine)
            for account in ACCOUNTS:
                mine = [hold.intent for hold in script.holds if account in hold.intent.accounts]
                spent = sum(costs[intent.id] for intent in mine if intent.id in costs)
                held = sum(intent.amount for intent in mine if intent.id not in costs)
                assert balances.get(account.id, (0, 0)) == (spent, held)
                assert spent + held <= account.limit
        await script.ledger.close()

    @quick(engine)
    @given(steps)
    def law(steps: list[tuple[Any, ...]]) -> None:
        engine.empty()
        asyncio.run(work(steps))

    law()


def test_the_memory_ledger_keeps_the_same_books(engine: Engine) -> None:
    async def work(steps: list[tuple[Any, ...]]) -> None:
        clocks = ManualClock(), ManualClock()
        real = Script(await engine.open(clocks[0]), clocks[0])
        memory = MemoryLedger(clocks[1])
        fake = Script(memory, clocks[1])
        for number, step in enumerate(steps):
            await real.play(step, number)
            await fake.play(step, number)
        await real.ledger.close()

        balances, costs = books_of(engine)
        assert balances == expected_balances(memory)
        assert costs == {id_: record.cost for id_, record in memory.records.items()}
        assert real.refusals == fake.refusals
        assert real.ledger.late_settlements == memory.late_settlements

    @quick(engine)
    @given(steps)
    def law(steps: list[tuple[Any, ...]]) -> None:
        engine.empty()
        asyncio.run(work(steps))

    law()


words = st.sampled_from(("", "a", "b", "c.d", "e/f"))
records = st.builds(
    lambda number, words, cost, cache, day, tokens: {
        "tags": Tags(
            tenant="acme", key_id="k", feature=words[0], task=words[1], run=words[2], environment="p", team=words[3]
        ),
        "model_served": words[1],
        "tier": words[2],
        "provider": words[3],
        "cost": Nano(cost),
        "avoided_cache": Nano(cost // 2),
        "avoided_routing": Nano(cost // 3),
        "cache": cache,
        "received_ns": day * 86_400 * 10**9 + number,
        "usage": every_class(tokens),
    },
    st.integers(0, 10**9),
    st.tuples(words, words, words, words),
    st.integers(0, 10**12),
    st.sampled_from(CacheOutcome),
    st.integers(20_000, 20_003),
    st.integers(0, 10**6),
)


def test_the_rows_of_a_report_sum_to_the_records_whatever_it_groups_by(engine: Engine) -> None:
    @quick(engine)
    @given(
        st.lists(records, max_size=25),
        st.lists(st.sampled_from(sorted(reports.DIMENSIONS)), unique=True, max_size=3),
        st.integers(1, 4),
    )
    def law(changes: list[dict[str, Any]], by: list[str], limit: int) -> None:
        written = [example_record(f"r{number}", **fields) for number, fields in enumerate(changes)]
        engine.empty()
        engine.write(*written)
        until_ns = 20_002 * 86_400 * 10**9
        inside = [record for record in written if record.received_ns < until_ns]

        rows = reports.spend(engine.database, by=by, since_ns=0, until_ns=until_ns, limit=limit)
        whole = reports.totals(engine.database, since_ns=0, until_ns=until_ns)

        assert len(rows) <= limit
        assert sum(row.requests for row in rows) == whole.requests == len(inside)
        assert sum(row.cost for row in rows) == whole.cost == sum(record.cost for record in inside)
        assert sum(row.hits for row in rows) == whole.hits == sum(record.cache.is_hit for record in inside)
        assert sum(row.avoided_cache for row in rows) == whole.avoided_cache
        assert whole.avoided_cache == sum(record.avoided_cache for record in inside)
        assert sum(row.avoided_routing for row in rows) == whole.avoided_routing
        assert whole.usage.input_total == sum(record.usage.input_total for record in inside)
        assert sum(row.usage.output_total for row in rows) == sum(record.usage.output_total for record in inside)

    law()
