"""Show what the choice among deployments brings when one of them ails. `python -m bench.deployments`.

Calls come at random in simulated time, through the gateway's own balancer and breakers; the deployments are made up.
"""

import argparse
import heapq
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Any, Final

from bench.results import DIRECTORY, write_result
from farthing.call import Call, Endpoint
from farthing.catalog import Affinity, Balance, Catalog, Deployment, Provider, Tier
from farthing.routing import Route
from farthing.tags import Tags
from gateway.balancing import Balancer, Passage, Try
from ledger.testing import ManualClock
from router_policies.breaker import BreakerRules, Fault
from router_policies.deployments import pool_of

SECONDS: Final = 600.0
PER_SECOND: Final = 30.0
SERVICE_S: Final = 1.0
"""Mean of an answer's time, exponential."""
ERROR_S: Final = 0.05
PATIENCE_S: Final = 30.0
"""Clients give up then."""
ILL_FROM, ILL_TO = 0.2, 0.6
"""Shares of the time between which the first deployment ails."""
CACHED_S: Final = 300.0
PROMPTS: Final = 5000
COOLDOWN: Final = BreakerRules(failures=1, longest_s=0)
"""The rule of before: each failure leaves its deployment out for 30 s."""
AILING_NOTE: Final = (
    f"{PER_SECOND:g} calls a second at random for {SECONDS / 60:g} minutes to three equal deployments whose answers "
    f"take {SERVICE_S:g} s in the mean (exponential). The first one ails from minute {SECONDS * ILL_FROM / 60:g} to "
    f"{SECONDS * ILL_TO / 60:g} as the case says. `plain cooldown` is the rule of before: out for 30 s after each "
    f"failure. Clients give up after {PATIENCE_S:g} s. `answered` counts calls, `failed attempts` those that another "
    "deployment had to answer, `at it` the first one's share of all answers; its fair one would be a third."
)
PROMPTS_NOTE: Final = (
    f"{PER_SECOND:g} calls a second for {SECONDS / 60:g} minutes with {PROMPTS} beginnings, the n-th asked 1/n as "
    f"often as the first, at four deployments which each keep one for {CACHED_S:g} s after its last use; `found again` "
    "is the share of calls that find theirs, `busiest` the share of calls of the deployment with most, whose "
    "fair one is a quarter."
)


@dataclass
class Ward:
    """Deployments behind a balancer, and what comes of calls to them. `ails` says what the first one does while it is
    ill: refuse, fail (with that share), slow (so many times), hang."""

    rules: BreakerRules
    balance: Balance
    ails: str = ""
    degree: float = 1.0
    size: int = 3
    seconds: float = SECONDS
    affinity: Affinity = Affinity.NONE
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    times: list[float] = field(default_factory=list)
    lost: int = 0
    wasted: int = 0
    answers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = ManualClock(0)
        provider = [Provider(name=f"p{n}", adapter="openai", base_url=f"http://p{n}") for n in range(self.size)]
        places = tuple(Deployment(name="m", provider=one, model="m") for one in provider)
        self.balancer = Balancer(self.clock, self.rules, 3, lambda call, _: hash_of(call.id))
        self.balancer.take_up(_catalog(places))
        self.route = Route(
            tier="t",
            deployments=places,
            policy="",
            reason="",
            pools=(pool_of("t", places, self.balance, self.affinity),),
        )
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something so many seconds from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), what))

    def play(self, arrive: Callable[[], None]) -> "Ward":
        """So many seconds of calls, and what is under way then to its end."""

        def come() -> None:
            arrive()
            if self.now < self.seconds:
                self.later(self.dice.expovariate(PER_SECOND), come)

        self.later(0.0, come)
        while self._events:
            at, _, what = heapq.heappop(self._events)
            self.clock.advance(at - self.now)
            what()
        return self

    def call(self, prompt: str = "") -> str:
        """One call; where it is tried first."""
        tries = self.balancer.tries(self.route, _call(prompt))
        self._try(tries, 0, self.now)
        return tries[0].place.id

    def _try(self, tries: list[Try], number: int, since: float) -> None:
        if number == len(tries):
            self.lost += 1
            return
        if self.balancer.is_passed_over(tries, number):
            self._try(tries, number + 1, since)
            return
        place, line, _ = tries[number]
        assert line is not None
        passage = self.balancer.enter(line)
        is_ill = place is self.route.deployments[0] and ILL_FROM <= self.now / self.seconds < ILL_TO
        ill = self.ails if is_ill else ""
        service = self.dice.expovariate(1 / SERVICE_S)
        if ill == "refuse":
            self._fail(passage, Fault.UNREACHABLE, tries, number, since)
        elif ill == "fail" and self.dice.random() < self.degree:
            self.later(ERROR_S, lambda: self._fail(passage, Fault.ERROR, tries, number, since))
        elif ill == "hang":
            self.later(PATIENCE_S, lambda: self._give_up(passage))
        else:
            service *= self.degree if ill == "slow" else 1.0
            self.later(service, lambda: self._answer(passage, place.id, since))

    def _fail(self, passage: Passage, fault: Fault, tries: list[Try], number: int, since: float) -> None:
        passage.fail(fault, "x")
        passage.leave()
        self.wasted += 1
        self._try(tries, number + 1, since)

    def _answer(self, passage: Passage, place: str, since: float) -> None:
        passage.answer()
        passage.succeed()
        self.times.append(self.now - since)
        self.answers[place] = self.answers.get(place, 0) + 1

    def _give_up(self, passage: Passage) -> None:
        passage.leave()
        self.lost += 1


def hash_of(prompt: str) -> int:
    """The same for the same prompt, in every process."""
    return random.Random(prompt).getrandbits(64)


def _call(prompt: str) -> Call:
    return Call(
        id=prompt,
        endpoint=Endpoint.CHAT,
        tags=Tags(tenant="t", key_id="k", feature="f"),
        model="m",
        stream=False,
        wants_usage=False,
        raw=b"",
        body={},
        received_ns=0,
        started=0.0,
        input_bound=1,
    )


def _catalog(places: tuple[Deployment, ...]) -> Catalog:
    none: Mapping[str, Any] = MappingProxyType({})
    return Catalog(
        tiers=(Tier(name="t", rank=0, deployments=places),),
        tasks=none,
        features=none,
        models=none,
        aliases=none,
        default_tier="t",
        fingerprint="",
    )


CASES: Final = (
    ("well", "", 1.0),
    ("dead", "refuse", 1.0),
    ("fails 0.5 %", "fail", 0.005),
    ("fails 80 %", "fail", 0.8),
    ("ten times slower", "slow", 10.0),
    ("hangs", "hang", 1.0),
)
RULES: Final = (
    ("plain cooldown, weighted", COOLDOWN, Balance.WEIGHTED),
    ("breaker, weighted", BreakerRules(), Balance.WEIGHTED),
    ("breaker, least_outstanding", BreakerRules(), Balance.LEAST_OUTSTANDING),
)


def ailing_figures(seconds: float = SECONDS) -> list[dict[str, Any]]:
    """A row for each ailment and rule."""
    rows = []
    for case, ails, degree in CASES:
        for name, rules, balance in RULES:
            ward = Ward(rules=rules, balance=balance, ails=ails, degree=degree, seconds=seconds)
            ward.play(lambda ward=ward: ward.call())  # type: ignore[misc]
            times, answered = sorted(ward.times), len(ward.times)
            rows.append(
                {
                    "case": case,
                    "rule": name,
                    "answered, %": round(100 * answered / (answered + ward.lost), 2),
                    "failed attempts": ward.wasted,
                    "mean, s": round(sum(times) / answered, 2),
                    "p99, s": round(times[int(0.99 * answered)], 2),
                    "at it": round(ward.answers.get("p0/m", 0) / answered, 3),
                }
            )
    return rows


def prompt_figures(seconds: float = SECONDS) -> list[dict[str, Any]]:
    """A row for each way of choosing, without and with a prompt that makes up half of the calls."""
    rows = []
    for hot in (False, True):
        for affinity in (Affinity.NONE, Affinity.PROMPT):
            ward = Ward(rules=BreakerRules(), balance=Balance.WEIGHTED, size=4, affinity=affinity, seconds=seconds)
            seen = _Prompts(ward, hot)
            ward.play(seen.arrive)
            rows.append(
                {
                    "prompts": "half of the calls have one" if hot else "many",
                    "affinity": affinity.value,
                    "found again, %": round(100 * seen.found / seen.calls, 1),
                    "busiest": round(max(ward.answers.values()) / len(ward.times), 3),
                }
            )
    return rows


class _Prompts:
    """Calls with prompts, and the caches of the deployments."""

    def __init__(self, ward: Ward, hot: bool) -> None:
        self._ward, self._hot = ward, hot
        self._weights = [1 / number for number in range(1, PROMPTS + 1)]
        self._kept: OrderedDict[tuple[str, int], float] = OrderedDict()
        self.calls = self.found = 0

    def arrive(self) -> None:
        """One call."""
        ward, dice = self._ward, self._ward.dice
        is_hot = self._hot and dice.random() < 0.5
        prompt = 0 if is_hot else dice.choices(range(1, PROMPTS + 1), self._weights)[0]
        place = ward.call(str(prompt))
        self.calls += 1
        self.found += ward.now - self._kept.get((place, prompt), -CACHED_S) < CACHED_S
        self._kept[place, prompt] = ward.now


def main() -> None:
    """Measure and print; write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help=f"also write the figures into {DIRECTORY.name}")
    options = parser.parse_args()
    parts = (
        ("deployments", "Deployments: one ails", AILING_NOTE, ailing_figures()),
        ("deployments_prompts", "Deployments: prompts that begin alike", PROMPTS_NOTE, prompt_figures()),
    )
    for file, name, note, rows in parts:
        print(*rows[0], sep="\t")
        for row in rows:
            print(*row.values(), sep="\t")
        if options.json:
            path = DIRECTORY / f"{file}.json"
            write_result(path, name=name, command="python -m bench.deployments", figures=rows, note=note)


if __name__ == "__main__":
    main()
