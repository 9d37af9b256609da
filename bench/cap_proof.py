"""Ask for far more than a cap pays for, all at once, through several workers: `python -m bench.cap_proof`
(`--ledger postgres`: of two gateways that share a PostgreSQL).

Spend must never pass a cap, nearly all that the cap pays for must be served, and no hold may stay behind.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from bench.callers import Ask, Told, call
from bench.mock_upstream import Mock, MockSettings, running_mock
from bench.results import write_result
from bench.run import BenchmarkFailed
from bench.servers import server_for
from bench.victims import FAILING, MODEL, Victim, running_victim, write_config
from farthing.money import Nano, format_usd, nano_from_usd

PRICE: Final = "10"
_WORDS: Final = "a " * 59
"""With the number before them 60 words, the mock's input tokens; it answers at most 61 tokens."""
OUTPUT: Final = 40
COST: Final = 60 * 10 + OUTPUT * 10_000
"""Nano-dollars of every call, at 10 USD per million output tokens and a thousandth of that for input."""
NOTE: Final = """Every call costs the same: 40 output tokens. Where `max_tokens` is what is used, the worst case is
within 1 % of the cost; the last row asks for four times what it uses. Of the leavers every third client is gone after
50 ms, and pays an estimate of what it got. `one after another` is what a sequential run of
the same calls is served, computed from the hold that a refusal names and the cost; what is served less than that was
refused because of holds that came out smaller. `highest` is the most that was spent and held at any look during the
fire, as a share of the cap that it came nearest to."""

POSTGRES_NOTE: Final = "The same on two gateways that share nothing but a PostgreSQL, each with half of the workers. "


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Calls of one kind and the caps over them; `caps` are budgets without their limit, `shares` say for how many
    of each hundred calls that are paid for (the least of them binds)."""

    name: str
    bodies: Sequence[Mapping[str, Any]] = ({},)
    features: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    caps: Sequence[Mapping[str, Any]] = ()
    shares: Sequence[int] = (100,)
    leaves_after_s: float | None = None
    """Every third client is gone after so long."""
    least: int = 97
    """Of each hundred calls that the cap pays for so many must be served, or as many as one after another."""

    @property
    def booked_to(self) -> Sequence[str]:
        """Its features; a scenario has one of its own unless it says otherwise."""
        return self.features or (self.name,)

    @property
    def budgets(self) -> Sequence[Mapping[str, Any]]:
        """Its budgets, without their limits."""
        return self.caps or ({"id": self.name, "window": "day", "where": {"feature": self.name}},)

    def ask(self, number: int) -> Ask:
        """One of its calls."""
        feature = self.booked_to[number % len(self.booked_to)]
        message = {"role": "user", "content": f"{self.name}-{number} {_WORDS}"}
        shape = self.bodies[number % len(self.bodies)]
        return Ask(
            body={"model": MODEL, "max_tokens": OUTPUT, **shape, "messages": [message]},
            headers={"x-farthing-feature": feature, **self.headers},
            leaves_after_s=self.leaves_after_s if number % 3 == 2 else None,
        )


SCENARIOS: Final = (
    Scenario(name="plain"),
    Scenario(name="streams", bodies=({"stream": True},)),
    Scenario(name="choices", bodies=({"n": 2, "max_tokens": OUTPUT // 2},)),
    Scenario(name="aliases", bodies=tuple({"model": name} for name in ("one-name", "other-name", "third-name"))),
    Scenario(name="failover", bodies=({"model": "failing-first"},)),
    Scenario(
        name="run",
        headers={"x-farthing-run": "agent-1"},
        caps=({"id": "run", "window": "run", "per": ["run"]},),
    ),
    Scenario(
        name="overlapping",
        features=("overlap-a", "overlap-b"),
        caps=(
            {"id": "overlap-team", "window": "month", "where": {"team": "overlap"}},
            {"id": "overlap-feature", "window": "day", "where": {"team": "overlap"}, "per": ["feature"]},
            {"id": "overlap-key", "window": "hour", "where": {"team": "overlap"}, "per": ["key"]},
        ),
        shares=(100, 60, 120),
    ),
    Scenario(name="mixed", bodies=({}, {"stream": True}, {"n": 2, "max_tokens": OUTPUT // 2}, {"model": "one-name"})),
    Scenario(name="leavers", bodies=({"stream": True}, {}), leaves_after_s=0.05, least=70),
    Scenario(name="loose", bodies=({"max_tokens": 4 * OUTPUT},), least=20),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one scenario. Money in USD."""

    scenario: str
    calls: int
    pays_for: int
    served: int
    refused: int
    left: int  # clients that left before their answer was whole
    other: int  # none of these: an error, or no answer
    one_after_another: int
    cap: str
    spent: str
    highest: float
    passed: int  # looks that found an account above its cap
    upstream: int  # calls that the mock answered
    holds: int


def config_of(
    directory: Path, upstream: str, pays_for: int, scenarios: Sequence[Scenario] = SCENARIOS, *, shared: bool = False
) -> Path:
    """One configuration for all scenarios; the cap of each pays for so many of its calls."""
    features = {
        name: {"team": "overlap" if scenario.features else "caps", "cache": {"exact": False}}
        for scenario in scenarios
        for name in scenario.booked_to
    }
    budgets = [
        {**budget, "limit_usd": format_usd(Nano(share * pays_for * COST // 100))}
        for scenario in scenarios
        for budget, share in zip(scenario.budgets, scenario.shares, strict=True)
    ]
    return write_config(directory, upstream, features=features, budgets=budgets, price=PRICE, shared=shared)


async def fire(
    victim: Victim, mock: Mock, scenario: Scenario, *, calls: int, pays_for: int, others: Sequence[Victim] = ()
) -> Outcome:
    """All calls at once, in turn to all that share the ledger; the outcome once nothing is held any more."""
    mock.requests.clear()
    ports = [one.port for one in (victim, *others)]
    looks = _Looks(victim, scenario)
    watching = asyncio.ensure_future(looks.go_on())
    told = await asyncio.gather(*(call(ports[number % len(ports)], scenario.ask(number)) for number in range(calls)))
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while victim.held():  # noqa: ASYNC110 - in other processes
                await asyncio.sleep(0.02)
    watching.cancel()
    looks.look()
    statuses = Counter(answer.status if answer.is_whole else 0 for answer in told)
    asks = (scenario.ask(number) for number in range(calls))
    left = sum(ask.leaves_after_s is not None and not answer.is_whole for ask, answer in zip(asks, told, strict=True))
    return Outcome(
        scenario=scenario.name,
        calls=calls,
        pays_for=pays_for,
        served=statuses[200],
        refused=statuses[402],
        left=left,
        other=calls - statuses[200] - statuses[402] - left,
        one_after_another=_sequential(told, pays_for),
        cap=format_usd(Nano(pays_for * COST)),
        spent=format_usd(Nano(looks.spent)),
        highest=round(looks.highest, 4),
        passed=looks.passed,
        upstream=sum(request.json["model"] != FAILING for request in mock.requests),
        holds=victim.held(),
    )


class _Looks:
    """Repeated looks at the accounts of a scenario while others spend from them."""

    def __init__(self, victim: Victim, scenario: Scenario) -> None:
        self._victim = victim
        self._budgets = [str(budget["id"]) for budget in scenario.budgets]
        self.highest, self.passed, self.spent = 0.0, 0, 0

    async def go_on(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(0.01)

    def look(self) -> None:
        marks = ", ".join("?" * len(self._budgets))
        rows = self._victim.ask(f"SELECT cap, spent, held FROM accounts WHERE budget IN ({marks})", *self._budgets)
        for cap, spent, held in rows:
            self.highest = max(self.highest, (spent + held) / cap)
            self.passed += spent + held > cap
            self.spent = max(self.spent, spent)


def _sequential(told: Sequence[Told], pays_for: int) -> int:
    """How many calls fit one after another: each must find room for its whole hold, and leaves its cost."""
    refusal = next((answer for answer in told if answer.status == 402), None)
    if refusal is None:
        return len(told)
    budget = orjson.loads(refusal.rest.partition(b"\r\n\r\n")[2])["error"]["budget"]
    return (pays_for * COST - nano_from_usd(budget["estimate_usd"])) // COST + 1


async def prove(calls: int, pays_for: int, workers: int, names: Sequence[str] = (), *, url: str = "") -> list[Outcome]:
    """Every scenario in turn, on one gateway; with a URL on two that share the database, with half of the workers
    each."""
    machines = ("here", "there") if url else ("here",)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farthing-caps-")))
        mock = await stack.enter_async_context(running_mock(MockSettings(chunks=8, duration_ms=100, recording=True)))
        configs = [config_of(folder / name, mock.base_url, pays_for, shared=bool(url)) for name in machines]
        victim, *others = [
            await stack.enter_async_context(running_victim(config, workers // len(machines), url)) for config in configs
        ]
        return [
            await fire(victim, mock, scenario, calls=calls, pays_for=pays_for, others=others)
            for scenario in SCENARIOS
            if not names or scenario.name in names
        ]


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """What the outcomes did not prove, in sentences."""
    least, said = {scenario.name: scenario.least for scenario in SCENARIOS}, []
    for one in outcomes:
        if one.passed or nano_from_usd(one.spent) > nano_from_usd(one.cap):
            said.append(f"{one.scenario}: {one.spent} USD were spent of {one.cap} ({one.passed} looks above a cap)")
        if one.holds or one.other:
            said.append(f"{one.scenario}: {one.holds} holds are left, {one.other} calls had no proper answer")
        if not one.served <= one.upstream <= one.served + one.left:
            said.append(f"{one.scenario}: {one.served} calls were served, but {one.upstream} sent")
        if one.upstream < min(-(-least[one.scenario] * one.pays_for // 100), one.one_after_another):
            said.append(f"{one.scenario}: only {one.served} of {one.pays_for} calls were served")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--pays-for", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--scenario", action="append", choices=[scenario.name for scenario in SCENARIOS], default=[])
    parser.add_argument("--ledger", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    try:
        with server_for(options.ledger) as server:
            url = server.fresh_database() if server else ""
            outcomes = uvloop.run(prove(options.calls, options.pays_for, options.workers, options.scenario, url=url))
    except (BenchmarkFailed, OSError) as error:
        print(f"caps: {error}", file=sys.stderr)
        return 1
    for outcome in outcomes:
        print(outcome)
    if options.json:
        command = f"python -m bench.cap_proof --calls {options.calls} --workers {options.workers}"
        rows = [asdict(outcome) for outcome in outcomes]
        name, note = "caps", NOTE
        if options.ledger == "postgres":
            command, name, note = f"{command} --ledger postgres", "caps, PostgreSQL", POSTGRES_NOTE + NOTE
        write_result(options.json, name=name, command=command, figures=rows, note=" ".join(note.split()))
    said = failures(outcomes)
    print("\n".join(said), file=sys.stderr)
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
