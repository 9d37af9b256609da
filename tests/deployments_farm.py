"""A farm for tests: deployments of one tier, each of which behaves as it is told, behind the real pipeline."""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from farthing.call import Endpoint
from farthing.catalog import Deployment
from farthing.errors import FarthingError
from farthing.record import Record
from gateway.balancing import Line
from gateway.upstreams.testing import Scripted, ScriptedAnswer
from tests.scripted_pipeline import (
    SMALL,
    Stair,
    chunk,
    completion,
    dollars,
    frames,
    plain,
    provider,
    stream,
    usage,
    usage_chunk,
)

WELL = plain(completion(usage=usage(1, 1)))
STREAM = stream(*frames(chunk("a"), chunk("b", "stop"), usage_chunk(1, 2)))


@dataclass
class Farm:
    """Port Upstream: `says` is what each deployment answers (its id, or "" for all others), and one in `hangs` answers
    nothing before its event is set. `sent` counts the calls."""

    says: dict[str, Scripted] = field(default_factory=dict)
    hangs: dict[str, asyncio.Event] = field(default_factory=dict)
    raises: dict[str, FarthingError] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    most: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> ScriptedAnswer:
        name = deployment.id
        self.sent[name] += 1
        self.busy[name] += 1
        self.most[name] = max(self.most[name], self.busy[name])
        try:
            if name in self.hangs:
                await self.hangs[name].wait()
            await asyncio.sleep(0)
        finally:
            self.busy[name] -= 1
        if (error := self.raises.get(name)) is not None:
            raise error
        script = self.says.get(name) or self.says.get("") or (STREAM if stream else WELL)
        if refusal := script.refusal(deployment.provider):
            raise refusal
        return ScriptedAnswer(script, deployment.provider)

    async def close(self) -> None:
        """Nothing is open."""


def places(*weights: int) -> tuple[Deployment, ...]:
    """Deployments `p0/small-model`, `p1/small-model` and so on."""
    return tuple(
        Deployment(name=SMALL, provider=provider(f"p{number}"), model=SMALL, weight=weight)
        for number, weight in enumerate(weights)
    )


def farm_of(stair: Stair) -> Farm:
    """The farm behind a pipeline of `barn`."""
    farm = stair.runtime.forwarder.upstream
    assert isinstance(farm, Farm)
    return farm


def barn(*weights: int, stair: Stair | None = None) -> Stair:
    """A pipeline whose small tier has deployments of these weights; the caches are off."""
    stair = stair or Stair()
    stair.small = places(*weights)
    stair.prices = [*stair.prices, *(dollars(place.provider.name, SMALL) for place in stair.small)]
    stair.feature = replace(stair.feature, exact_cache=False)
    stair.open()
    stair.runtime.forwarder.upstream = Farm()
    return stair


def lines(stair: Stair) -> list[Line]:
    """The lines of the small tier, in its order."""
    return [stair.runtime.forwarder.balancer.lines[place.id] for place in stair.small]


def tried(record: Record) -> list[str]:
    """The providers at which a call was tried, in order."""
    return [attempt.deployment.partition("/")[0] for attempt in record.attempts]


async def ask(stair: Stair, **body: object) -> Record:
    """One chat call to the small tier; its record."""
    await stair.ask(Endpoint.CHAT, **body)
    return stair.records[-1]
