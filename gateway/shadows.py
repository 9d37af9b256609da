"""Shadows: a share of the semantic cache's hits is answered by a model as well, after they were served, and graded."""

from typing import TYPE_CHECKING

from farthing.call import Call
from gateway.asides import SHADOWING, Asides, aside_of
from gateway.destination import Destination
from gateway.forward import output_cap
from gateway.runtime import Runtime

if TYPE_CHECKING:
    from cache.finding import Near


class SampledShadows:
    """Port `Shadows`: so many as `near.share` says, as far as asides may be made."""

    def __init__(self, asides: Asides) -> None:
        self._asides = asides

    def follow(self, call: Call, near: "Near", destination: Destination, runtime: Runtime) -> None:
        """See the port."""
        if _draw(call) < near.share and self._asides.may(runtime):
            runtime.caches.background.spawn(self._shadow(call, near, destination, runtime))

    async def _shadow(self, call: Call, near: "Near", destination: Destination, runtime: Runtime) -> None:
        caches = runtime.caches
        if caches.semantic is None:
            return
        cap = output_cap(call, runtime.generation.feature(call.tags.feature))
        aside = aside_of(call, dict(call.body), runtime.clock, SHADOWING)
        answer, cost = await self._asides.ask(aside, destination, cap, runtime)
        await caches.semantic.grade_hit(near, answer, cost=cost, referee=caches.referee)


def _draw(call: Call) -> float:
    """From 0 to 1, at random: the last digits of a request's id are, and nobody knows them before."""
    return int(call.id[-8:], 16) / 16**8
