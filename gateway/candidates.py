"""Candidates: a tier that a policy shadows is asked what was asked of the reference, once that has answered."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from cache.storable import Storable
from farthing.answer import StoredAnswer
from farthing.call import Call, Endpoint
from farthing.catalog import Task
from farthing.errors import FarthingError
from farthing.ports import Clock
from farthing.value import changed
from gateway.asides import CANDIDATE, Asides, aside_of
from gateway.destination import TIER_PREFIX, Destination
from gateway.forward import output_cap
from gateway.runtime import Observer, Runtime
from gateway.tasks import Background

_LOG: Final = logging.getLogger("farthing.candidates")

Grade = Callable[[Task, str, Call, Mapping[str, Any], StoredAnswer], Awaitable[None]]
"""Takes up what a tier answered to a call beside the reference's own answer, parsed."""


class CandidateShadows:
    """Port `Candidates`: off the path, as far as asides may be made (`gateway.asides`). Neither answer is kept."""

    def __init__(self, asides: Asides, clock: Clock, background: Background, grade: Grade) -> None:
        self._asides, self._clock, self._background, self._grade = asides, clock, background, grade

    def beside(
        self, other: Observer | None, call: Call, task: Task, destination: Destination, runtime: Runtime
    ) -> Observer | None:
        """See the port."""
        if call.endpoint is Endpoint.EMBEDDINGS or _draw(call) >= destination.shadow_share:
            return other

        def observe(answer: Mapping[str, Any]) -> None:
            if other is not None:
                other(answer)
            if self._asides.may(runtime):
                self._background.spawn(self._ask(call, task, destination.shadow, answer, runtime))

        return observe

    async def _ask(self, call: Call, task: Task, tier: str, reference: Mapping[str, Any], runtime: Runtime) -> None:
        generation = runtime.generation
        aside = aside_of(call, dict(call.body), self._clock, CANDIDATE)
        try:
            named = changed(aside, model=TIER_PREFIX + tier)
            destination = generation.destinations.find(named, generation.feature(aside.tags.feature), None)
        except FarthingError:
            return  # a reload took the tier away
        cap = output_cap(call, generation.feature(call.tags.feature))
        # Also an answer that no cache would keep is one, and may be the worse for it.
        answer = (await self._asides.ask(aside, destination, cap, runtime, least=Storable.NO)).answer
        if answer is not None:
            await self._grade(task, tier, call, reference, answer)


def _draw(call: Call) -> float:
    """From 0 to 1, at random: digits of a request's id are, and nobody knows them before. Not those by which live
    answers are drawn."""
    return int(call.id[-16:-8], 16) / 16**8
