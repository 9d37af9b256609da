"""Kill a gateway at random moments under load, again and again, and compare its books with what the mock upstream saw:
`python -m bench.soak --kills 100 [--ledger postgres]`.

With PostgreSQL there are two gateways with nothing in common but their database, and its server is restarted, too.

Nothing that is sent upstream names its call, so every prompt is unique and the call carries the same word as its tag
`run`. After each kill and restart the books must hold exactly one charge for every call that the mock answered.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from bench.callers import NOBODY, Ask, Told, call
from bench.mock_upstream import Mock, MockSettings, running_mock
from bench.results import write_result
from bench.run import BenchmarkFailed
from bench.servers import server_for
from bench.victims import FAILING, MODEL, Victim, running_victim, write_config
from ledger import reports
from ledger.check import check
from ledger.groupcommit import DEADLINE_S

if TYPE_CHECKING:
    from tests.postgres import Server

CALLERS: Final = 12
PAUSE_S: Final = 0.02
"""Of a caller who found nobody."""
SETTLE_S: Final = 90.0
"""How long the books may take to become right after a restart; they are read again until then. Workers look for holds
of the dead when they start, and once a minute."""
STRIKES: Final = 25
"""Kills between two audits with PostgreSQL, where it takes a lease (15 s) until the dead are known."""
RESTART_EVERY: Final = 5
"""Kills between two restarts of its server."""
SUMS_EVERY: Final = 10
"""Kills between two comparisons of all roll-ups and accounts with all records, which take seconds by then."""
LIMIT_USD: Final = "100000"
BUDGETS: Final = (
    {"id": "feature-day", "limit_usd": LIMIT_USD, "window": "day", "per": ["feature"]},
    {"id": "tenant-month", "limit_usd": LIMIT_USD, "window": "month", "per": ["tenant"]},
    {"id": "each-run", "limit_usd": "10", "window": "run", "per": ["run"]},
)
NOTE: Final = """Real gateway processes, SIGKILL under load at random seeded moments: one worker (the parent replaces
it), all workers, the whole gateway, the whole gateway again while it starts, the parent alone (its workers end by
themselves). Load: plain, streams, n = 3, failover, repeats that the cache may answer, clients that leave (of features
that abort and that drain), charges from outside that are repeated until they are heard. After every kill and restart
all of the books so far were compared with all that the mock had seen. "Held, never sent" are calls killed between the
commit of their hold and the provider: nobody can know what became of them, so they are charged at their hold, marked
`estimated`."""


POSTGRES_NOTE: Final = """The same with the books in PostgreSQL and two such gateways, which share nothing but the
database. Between the kills its server is restarted under load: at once, in good order, or after SIGKILL for all of its
processes. Audited after every 25th kill, when the leases of the dead are over. After each restart all that was
answered meanwhile, from a cache too, has to be on the books before anything is killed. """


@dataclass(slots=True)
class Seen:
    """What the clients asked and what the mock saw, over the whole soak."""

    asked: set[str] = field(default_factory=set)  # the runs
    served: set[str] = field(default_factory=set)  # the runs whose clients had a whole good answer
    unsettled: set[str] = field(default_factory=set)
    """Those of them who had it so late that their gateway had stopped waiting for the ledger. A worker that is killed
    then takes the true cost with it: the call is charged at its hold."""
    billed: Counter[str] = field(default_factory=Counter)
    """Calls that the mock answered, by the word in their prompt, and charges from outside that were heard."""
    failed: Counter[str] = field(default_factory=Counter)
    """Calls that the mock failed."""

    def listen(self, mock: Mock) -> None:
        """Take up what the mock has recorded."""
        for request in mock.requests:
            body = request.json
            word = str(body["messages"][-1]["content"]).split(" ")[0]
            (self.failed if body["model"] == FAILING else self.billed)[word] += 1
        mock.requests.clear()


@dataclass(frozen=True, slots=True)
class Audit:
    """The books beside what was seen; only the last four may be other than zero."""

    missing: int  # the mock answered, and there is no charge
    doubled: int  # several charges for one run
    invented: int  # a charge of a call that nobody asked for, or that the mock never saw and that is not estimated
    unrecorded: int  # a client had its answer, and the books have no success
    lost_attempts: int  # failed attempts that no record tells of
    holds: int
    off_accounts: int  # budgets whose accounts are not the sum of their records' costs
    off_sums: int  # figures of reports, and now and then of all roll-ups, that are not those of the records
    estimated: int
    never_sent: int
    owed: int  # the same for which their gateway had not waited any longer
    charges: int

    @property
    def wrong(self) -> int:
        """How much is wrong."""
        return sum(
            (
                *(self.missing, self.doubled, self.invented, self.unrecorded),
                *(self.lost_attempts, self.holds, self.off_accounts, self.off_sums),
            )
        )


def word_of(run: str) -> str:
    """The word in the prompt of a run: repeats have runs of their own."""
    return run.partition(".")[0]


def audit(victim: Victim, seen: Seen, *, sums: bool = True) -> Audit:
    """Read everything and compare; of the roll-ups every figure with `sums`, else only what a report reads."""
    rows = victim.ask("SELECT run, outcome, cost, usage_source, attempts FROM records")
    charged = [(run, source) for run, _, cost, source, _ in rows if cost > 0]
    runs, words = Counter(run for run, _ in charged), Counter(word_of(run) for run, _ in charged)
    estimated = Counter(word_of(run) for run, source in charged if source == "estimated")
    surplus = {word: words[word] - seen.billed[word] for word in words if words[word] > seen.billed[word]}
    unrecorded = seen.served - {run for run, outcome, *_ in rows if outcome in GOOD}
    told = Counter[str]()
    for run, outcome, _, _, attempts in rows:
        # A call that was killed has no attempts on its row: it may account for all that the mock saw of it.
        told[word_of(run)] += 9 if outcome == "lost" else attempts.count(FAILING)
    cost = sum(cost for _, _, cost, _, _ in rows)
    told_cost = reports.totals(victim.database, since_ns=0, until_ns=2**62).cost
    return Audit(
        missing=sum((seen.billed - words).values()),
        doubled=sum(count - 1 for count in runs.values()),
        invented=len(runs.keys() - seen.asked) + sum(max(0, n - estimated[word]) for word, n in surplus.items()),
        unrecorded=len(unrecorded - seen.unsettled),
        lost_attempts=sum((seen.failed - told).values()),
        holds=victim.held(),
        off_accounts=_off_accounts(victim, cost),
        off_sums=(told_cost != cost) + (len(check(victim.database).differences) if sums else 0),
        estimated=sum(estimated.values()),
        never_sent=sum(surplus.values()),
        owed=len(unrecorded & seen.unsettled),
        charges=len(charged),
    )


def _off_accounts(victim: Victim, cost: int) -> int:
    """Every call has a feature, a tenant and a run, so each of the budgets has seen every cost."""
    spent = dict.fromkeys((str(budget["id"]) for budget in BUDGETS), (0, 0)) if cost else {}
    sums = victim.ask("SELECT budget, sum(spent), sum(held) FROM accounts GROUP BY budget")
    spent |= {budget: (paid, held) for budget, paid, held in sums}
    return sum(pair != (cost, 0) for pair in spent.values())


class Soak:
    """One soak: the load, the kills and the audits. All dice are those of the seed; the scheduling is not. `strikes`
    kills are between two audits. The `victims` share one ledger, and its `server` where it has one."""

    def __init__(
        self, victims: Sequence[Victim], mock: Mock, seed: int, *, strikes: int = 1, server: "Server | None" = None
    ) -> None:
        self._victims, self._mock, self._dice = victims, mock, random.Random(seed)
        self._victim, self._strikes, self._server = victims[0], strikes, server
        self.seen, self.kills, self.calls = Seen(), Counter[str](), Counter[str]()
        self.restarts = Counter[str]()
        self._number, self._loading = 0, False
        self._unheard: list[str] = []

    async def round(self) -> Audit:
        """Strike, then audit."""
        for number in range(self._strikes):
            if self._server is not None and number % RESTART_EVERY == 0:
                unrecorded = self._unrecorded()
                await self._strike(partial(self._restart, self._server))
                await self._all_recorded(but=unrecorded)
            self._victim = self._dice.choice(self._victims)
            await self._strike(self._kill)
        return await self._settled()

    async def _strike(self, blow: Callable[[], Awaitable[None]]) -> None:
        """Load, strike, restart what does not restart by itself."""
        self._loading = True
        callers = [asyncio.ensure_future(self._caller()) for _ in range(CALLERS)]
        callers.append(asyncio.ensure_future(self._reporter()))
        await asyncio.sleep(self._dice.uniform(0.02, 0.8))
        await blow()
        self._loading = False
        await asyncio.gather(*callers)
        for victim in self._victims:
            await victim.ready()

    def _unrecorded(self) -> set[str]:
        return self.seen.served - {run for run, outcome in self._victim.ask(_OUTCOMES) if outcome in GOOD}

    async def _all_recorded(self, *, but: set[str]) -> None:
        """Wait until what was answered while the server was away is on the books, for nobody was killed meanwhile.
        Raises BenchmarkFailed."""
        deadline = time.monotonic() + SETTLE_S
        while unrecorded := self._unrecorded() - but:
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"Answered while the server was away, and never on the books: {unrecorded}")
            await asyncio.sleep(0.1)

    async def _restart(self, server: "Server") -> None:
        kind = self._dice.choice(tuple(RESTARTS))
        self.restarts[kind] += 1
        await asyncio.to_thread(RESTARTS[kind], server)
        await asyncio.sleep(self._dice.uniform(0, 0.5))  # whoever lost its connection is still under load

    async def _kill(self) -> None:
        kind = self._dice.choices(KILLS, (8, 4, 6, 2, 2))[0]
        self.kills[kind] += 1
        while not (workers := self._victim.workers()):  # noqa: ASYNC110 - a process table tells nobody
            await asyncio.sleep(0.05)  # the last kill hit while its parent was waiting for a sibling
        match kind:
            case "one worker":
                self._victim.kill_worker(self._dice.choice(workers))
                await asyncio.sleep(self._dice.uniform(0, 0.2))  # its sibling is still under load
            case "all workers":
                for worker in workers:
                    self._victim.kill_worker(worker)
            case "parent":  # its workers see it within a second, finish what is under way, and end
                await self._victim.kill_parent()
                self._loading = False
                await self._victim.orphans_ended(workers)
                self._victim.start()
            case "gateway":
                await self._start_anew(0.0)
            case _:
                await self._start_anew(0.0)
                self.kills[kind] += 1
                await self._start_anew(self._dice.uniform(0, 2))

    async def _start_anew(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._victim.kill()
        self._victim.start()

    async def _settled(self) -> Audit:
        """The audit once it finds nothing wrong, or the last one before patience ended."""
        began = time.monotonic()
        while True:
            await self._report()
            self.seen.listen(self._mock)
            found = audit(self._victim, self.seen, sums=self._strikes > 1 or self.kills.total() % SUMS_EVERY == 0)
            if not found.wrong or time.monotonic() - began > SETTLE_S:
                return found
            await asyncio.sleep(0.1 * self._strikes)

    async def _caller(self) -> None:
        last = ""
        while self._loading:
            self._number += 1
            word = last if last and self._dice.random() < 0.12 else f"w{self._number}"
            run = word if word != last else f"{word}.{self._number}"
            kind = "repeat" if word == last else self._dice.choices(tuple(KINDS), (10, 8, 4, 2, 4, 2, 3))[0]
            self.seen.asked.add(run)
            self.calls[kind] += 1
            ask = Ask(
                body={"model": MODEL, "max_tokens": 30, **KINDS.get(kind, {}), "messages": said(word)},
                headers={"x-farthing-run": run, "x-farthing-feature": "drained" if "drained" in kind else "soak"},
                leaves_after_s=self._dice.uniform(0.001, 0.03) if "leaves" in kind else None,
            )
            asked_at = time.monotonic()
            told = await call(self._dice.choice(self._victims).port, ask)
            if told is NOBODY:
                await asyncio.sleep(PAUSE_S)
            self._hear(run, told, time.monotonic() - asked_at)
            last = word if kind == "plain" else ""

    async def _reporter(self) -> None:
        """A tool outside of the gateway books what it spends, and repeats each event until it is heard."""
        while self._loading:
            self._number += 1
            self._unheard.append(f"x{self._number}")
            self.seen.asked.add(self._unheard[-1])
            self.calls["charge from outside"] += 1
            await self._report()
            await asyncio.sleep(self._dice.uniform(0, PAUSE_S))

    async def _report(self) -> None:
        for id_ in list(self._unheard):
            if (await call(self._dice.choice(self._victims).port, charge_of(id_))).status != 200:
                return
            self._unheard.remove(id_)
            self.seen.billed[id_] = 1

    def _hear(self, run: str, told: Told, seconds: float) -> None:
        if told.status == 200 and told.is_whole:
            self.seen.served.add(run)
            if seconds >= DEADLINE_S:
                self.seen.unsettled.add(run)
        elif told.status == 200:
            self.calls["answered, but cut"] += 1
        elif told is NOBODY:
            self.calls["there was nobody to ask"] += 1
        elif told.status:
            self.calls[f"answered {told.status}"] += 1


GOOD: Final = ("success", "hit")
_OUTCOMES: Final = "SELECT run, outcome FROM records"
KILLS: Final = ("one worker", "all workers", "gateway", "gateway, again while it starts", "parent")


def _kill_for_a_second(server: "Server") -> None:
    server.kill()
    time.sleep(1)
    server.start()


RESTARTS: Final[dict[str, Callable[["Server"], None]]] = {
    "at once": lambda server: server.restart("immediate"),
    "in good order": lambda server: server.restart("fast"),
    "after SIGKILL": _kill_for_a_second,
}
KINDS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "stream": {"stream": True},
    "n": {"n": 3},
    "failover": {"model": "failing-first"},
    "stream, client leaves": {"stream": True},
    "plain, client leaves": {},
    "stream, client leaves and it is drained": {"stream": True},
}


def said(word: str) -> list[dict[str, str]]:
    """The messages of a call; its word comes first."""
    return [{"role": "user", "content": f"{word} tells a story of some length about money that is never lost"}]


def charge_of(id_: str) -> Ask:
    """A charge of a cent, which is on the books as a run of its own."""
    data = {"feature": "soak", "cost_usd": "0.01", "run": id_}
    head = {"specversion": "1.0", "type": "dev.farthing.usage.v1", "source": "/soak", "id": id_}
    return Ask(path="/api/charges", body={**head, "time": datetime.now(UTC).isoformat(), "data": data})


async def soak(kills: int, seed: int, workers: int, server: "Server | None" = None) -> tuple[Soak, Audit]:
    """Kill gateways so many times; raises BenchmarkFailed at the first audit that finds something wrong."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farthing-soak-")))
        mock = await stack.enter_async_context(running_mock(MockSettings(chunks=8, duration_ms=25, recording=True)))
        url = server.fresh_database() if server else ""
        configs = [_config(folder / name, mock, shared=bool(url)) for name in (("here", "there") if url else ("here",))]
        victims = [await stack.enter_async_context(running_victim(config, workers, url)) for config in configs]
        running = Soak(victims, mock, seed, strikes=STRIKES if server else 1, server=server)
        while running.kills.total() < kills:
            found = await running.round()
            print(f"{running.kills.total():4} kills, {found.charges} charges, {found.wrong} wrong", flush=True)
            if found.wrong:
                raise BenchmarkFailed(f"After {running.kills.total()} kills the books are wrong: {found}")
        for victim in victims:
            await victim.end()
        return running, audit(victims[0], running.seen)


def _config(directory: Path, mock: Mock, *, shared: bool) -> Path:
    return write_config(
        directory,
        mock.base_url,
        features={"soak": {}, "drained": {"on_hang_up": "drain"}},
        budgets=list(BUDGETS),
        price="10",
        shared=shared,
    )


def figures_of(running: Soak, found: Audit, seconds: float) -> dict[str, Any]:
    """What is told of a soak."""
    return {
        "kills": running.kills.total(),
        **{f"killed: {kind}": count for kind, count in sorted(running.kills.items())},
        **{f"server restarted {kind}": count for kind, count in sorted(running.restarts.items())},
        "calls asked": len(running.seen.asked),
        **{f"of these: {kind}": count for kind, count in sorted(running.calls.items())},
        "upstream calls and charges from outside": running.seen.billed.total(),
        "charges": found.charges,
        "upstream calls without a charge": found.missing,
        "calls charged twice": found.doubled,
        "charges of calls that were not made": found.invented,
        "answers without a record": found.unrecorded,
        "failed attempts without a record": found.lost_attempts,
        "holds left": found.holds,
        "budgets that differ from their records": found.off_accounts,
        "roll-ups and reports that differ from the records": found.off_sums,
        "charges marked estimated": found.estimated,
        "held, never sent": found.never_sent,
        "answered when the ledger was slow, then killed": found.owed,
        "seconds": round(seconds),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ledger", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        with server_for(options.ledger) as server:
            running, found = uvloop.run(soak(options.kills, options.seed, options.workers, server))
    except (BenchmarkFailed, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    figures = figures_of(running, found, time.monotonic() - began)
    for name, value in figures.items():
        print(f"{name:45} {value}")
    if options.json:
        command = f"python -m bench.soak --kills {options.kills} --seed {options.seed}"
        name, note = "soak", NOTE
        if options.ledger == "postgres":
            command, name, note = f"{command} --ledger postgres", "soak, PostgreSQL", POSTGRES_NOTE + NOTE
        write_result(options.json, name=name, command=command, figures=figures, note=" ".join(note.split()))
    return int(found.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
