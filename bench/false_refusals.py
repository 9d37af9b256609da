"""Show what the size of holds costs: calls refused although their money was there. `python -m bench.false_refusals`.

Many calls run at once against a budget that pays for about all of them, in simulated time, through the ledger's and the
gateway's own rules. A refusal is false where somebody who makes the calls one after another would have served it.
"""

import argparse
import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import log
from typing import Any, Final

from bench.results import DIRECTORY, write_result
from farthing.errors import MoneyError
from farthing.hold import Hold
from farthing.money import Nano, Rates, femto_per_token
from farthing.usage import Usage
from gateway.allowances import UNSEEN_TOKENS, Allowance
from gateway.outputbounds import LEAST_SAMPLES, OutputBounds
from ledger.testing import ManualClock, MemoryLedger, example_account, example_intent, example_record

RATES: Final = Rates(input_uncached=femto_per_token(1), output=femto_per_token(4))
INPUT_TOKENS: Final = 500
BYTES_PER_TOKEN: Final = 4
MEAN_OUTPUT: Final = 300
CAP: Final = 10 * MEAN_OUTPUT
TOKENS_PER_SECOND: Final = 50
EVENT_TOKENS: Final = 25
"""Tokens between two looks at a stream."""
PAID_CALLS: Final = 1000
"""Calls of the mean cost that the budget pays for; as many are made."""
PAIR: Final = ("feature", "model")
NOTE: Final = (
    f"Outputs are lognormal with a mean of {MEAN_OUTPUT} tokens, cut off at the cap of {CAP}; `sigma` says how much "
    f"they spread. Each call has {INPUT_TOKENS} input tokens in {INPUT_TOKENS * BYTES_PER_TOKEN} bytes, and "
    f"{BYTES_PER_TOKEN} bytes to an output token. {PAID_CALLS} calls are made against a budget that pays for so many "
    "of the mean cost. `one by one` serves them one after another, each whose cost still fits. `refused falsely` and "
    "`stopped`: of those, the share that was refused here, or cut off because the budget had no more for the stream; "
    "`from` is the share of the budget that was spent or under way at the first of them."
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a call holds: its output learned or at its cap, its input counted or by bytes."""

    name: str
    learned: bool
    counted: bool


POLICIES: Final = (
    Policy("cap", learned=False, counted=False),
    Policy("cap, input counted", learned=False, counted=True),
    Policy("learned", learned=True, counted=False),
    Policy("learned, input counted", learned=True, counted=True),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that arrives at a time (seconds) and will have so many output tokens."""

    at: float
    output: int

    @property
    def cost(self) -> int:
        """What it truly costs, nano-dollars."""
        return cost(self.output)


def cost(output: int) -> int:
    """Nano-dollars of a call with so many output tokens."""
    return RATES.cost(Usage(input_uncached=INPUT_TOKENS, output=output))


def outputs(dice: random.Random, sigma: float) -> Iterator[int]:
    """Output tokens of one call after another."""
    middle = log(MEAN_OUTPUT) - sigma * sigma / 2
    while True:
        yield min(max(round(dice.lognormvariate(middle, sigma)), 1), CAP)


def asks(dice: random.Random, sigma: float, concurrency: int) -> Sequence[Ask]:
    """Calls that arrive at random, so many under way at once on average where none is refused."""
    rate = concurrency * TOKENS_PER_SECOND / MEAN_OUTPUT
    at, made = 0.0, []
    for output in outputs(dice, sigma):
        at += dice.expovariate(rate)
        made.append(Ask(at, output))
        if len(made) == PAID_CALLS:
            return made
    raise AssertionError


class Field:
    """One run of the calls under one policy."""

    def __init__(self, policy: Policy, limit: int, learned_from: Iterator[int]) -> None:
        self.ledger = MemoryLedger(ManualClock())
        self.limit = limit
        self.account = example_account("b|all=all|day|2027-01-15", limit=limit)
        self.ended: dict[str, str] = {}
        self.highest = self.promised = self.extensions = 0
        self.first: float | None = None
        self._policy = policy
        self._bounds = OutputBounds()
        self._bounds.seed((*PAIR, Usage(output=next(learned_from))) for _ in range(5 * LEAST_SAMPLES))
        self._events: list[tuple[float, int, Callable[[], Any]]] = []
        self._order = count()

    async def run(self, calls: Sequence[Ask]) -> None:
        """Play all calls in the order of simulated time."""
        for number, ask in enumerate(calls):
            self.at(ask.at, partial(self._begin, ask, f"call-{number}"))
        while self._events:
            _, _, happen = heapq.heappop(self._events)
            await happen()
            self.highest = max(self.highest, self.ledger.spent.get(self.account.id, 0))

    def at(self, time: float, happen: Callable[[], Any]) -> None:
        """Do something at a simulated time."""
        heapq.heappush(self._events, (time, next(self._order), happen))

    def _worst_case(self, output: int) -> Nano:
        tokens = INPUT_TOKENS if self._policy.counted else INPUT_TOKENS * BYTES_PER_TOKEN
        return RATES.bound(tokens, output)

    async def _begin(self, ask: Ask, id_: str) -> None:
        learned = self._bounds.bound(*PAIR) if self._policy.learned else None
        tokens = CAP if learned is None else min(learned + UNSEEN_TOKENS, CAP)
        try:
            hold = await self.ledger.reserve(example_intent(id_, self._worst_case(tokens), self.account))
        except MoneyError:
            self.note(id_, "refused")
            return
        self.promised += ask.cost
        await Stream(self, ask, hold, tokens, self._worst_case).go(ask.at)

    def note(self, id_: str, how: str) -> None:
        """A call was served, refused or stopped."""
        self.ended[id_] = how
        if how != "served" and self.first is None:
            self.first = self.promised / self.limit


class Stream:
    """One call under way. It is the purse of its allowance."""

    def __init__(self, field: Field, ask: Ask, hold: Hold, tokens: int, worst_case: Callable[[int], Nano]) -> None:
        self._field, self._ask, self._hold = field, ask, hold
        self._sent = 0
        self._allowance = Allowance(self, worst_case, tokens=tokens, whole=CAP, choices=1, on_lump=lambda: None)

    async def extend(self, amount: Nano) -> None:
        """See Purse."""
        self._hold = await self._field.ledger.extend(self._hold, amount)
        self._field.extensions += 1

    async def go(self, now: float) -> None:
        """Send the next tokens, or end."""
        tokens = min(EVENT_TOKENS, self._ask.output - self._sent)
        if tokens == 0:
            await self._end("served")
            return
        self._sent += tokens
        self._allowance.feed({"choices": [{"delta": {"content": "x" * (tokens * BYTES_PER_TOKEN)}}]})
        try:
            await self._allowance.cover()
        except MoneyError:
            await self._end("stopped")
            return
        later = now + tokens / TOKENS_PER_SECOND
        self._field.at(later, partial(self.go, later))

    async def _end(self, how: str) -> None:
        spent = cost(self._sent)
        self._field.note(self._hold.intent.id, how)
        self._field.promised += spent - self._ask.cost
        await self._field.ledger.settle(self._hold, example_record(self._hold.intent.id, cost=Nano(spent)))


def one_by_one(calls: Sequence[Ask], limit: int) -> list[str]:
    """The calls that fit one after another."""
    served, spent = [], 0
    for number, ask in enumerate(calls):
        if spent + ask.cost <= limit:
            served.append(f"call-{number}")
            spent += ask.cost
    return served


async def measure(policy: Policy, sigma: float, concurrency: int, seed: int) -> dict[str, Any]:
    """One row of the table. Ends the program where a cap was passed."""
    calls = asks(random.Random(seed), sigma, concurrency)
    limit = PAID_CALLS * cost(MEAN_OUTPUT)
    field = Field(policy, limit, outputs(random.Random(seed + 1), sigma))
    await field.run(calls)
    if field.ledger.overages or field.ledger.holds or field.highest > limit:
        raise SystemExit(f"{policy.name}: a hold was outgrown or left behind, or the cap was passed")
    fitting = one_by_one(calls, limit)
    told = Counter(field.ended[id_] for id_ in fitting)
    begun = sum(how != "refused" for how in field.ended.values())
    return {
        "at once": concurrency,
        "sigma": sigma,
        "holds": policy.name,
        "one by one": len(fitting),
        "refused falsely": f"{told['refused'] / len(fitting):.1%}",
        "stopped": f"{told['stopped'] / len(fitting):.1%}",
        "from": "" if field.first is None else f"{field.first:.0%}",
        "overshoot": max(field.highest - limit, 0),
        "extensions a stream": round(field.extensions / begun, 2),
    }


async def table(seed: int) -> list[dict[str, Any]]:
    """Every policy under every load."""
    loads = [(concurrency, sigma) for concurrency in (20, 100) for sigma in (0.5, 1.0)]
    return [await measure(policy, sigma, at_once, seed) for at_once, sigma in loads for policy in POLICIES]


def main() -> None:
    """Write docs/results/false_refusals.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    rows = asyncio.run(table(seed))
    for row in rows:
        print(row)
    write_result(
        DIRECTORY / "false_refusals.json",
        name="Calls refused although their money was there, by the size of holds",
        command="python -m bench.false_refusals",
        figures=rows,
        note=NOTE,
    )


if __name__ == "__main__":
    main()
