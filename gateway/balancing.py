"""Balancing: which deployment of a tier a call goes to, by what this worker knows of each at that moment."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from itertools import count
from typing import Final, NamedTuple

from farthing.call import Call
from farthing.catalog import Affinity, Balance, Catalog, Deployment, Provider
from farthing.errors import UpstreamError
from farthing.ports import Clock, UpstreamResponse
from farthing.routing import Pool, Route
from farthing.value import changed
from router_policies.breaker import Breaker, BreakerRules, Fault
from router_policies.deployments import by_key, by_load, by_turn, pool_of, within_bound

_LOG: Final = logging.getLogger("farthing.deployments")
FORBIDDEN: Final = "http_403"
"""One of them may be about a prompt; a row of them is about the key."""
PATIENCE_S: Final = 10.0
"""A client that leaves after so long without the head of an answer has met a server that hangs, as far as one can tell:
many give up before `timeouts.first_byte` does, and nobody would ever learn of it."""
_REMEDIES: Final = {
    Fault.REFUSED: "the provider does not serve this account: check `api_key` of provider '{provider}', and its credit",
    Fault.UNREACHABLE: "no connection: check `base_url` of provider '{provider}', and that it is running",
    Fault.LIMITED: "the provider asks for so much time",
    Fault.UNHEALTHY: "its health check failed",
    Fault.ERROR: "too many of its calls failed",
}

_LEVELS: Final = {Fault.REFUSED: logging.ERROR, Fault.LIMITED: logging.INFO}

Key = Callable[[Call, Affinity], int | None]
"""A 64-bit hash of what calls have in common that should go to one deployment; None: nothing."""


def _no_key(_call: Call, _affinity: Affinity) -> None:
    """Calls have nothing in common."""


class Line:
    """One deployment as this worker knows it: how many of its calls are under way there, and its breaker."""

    __slots__ = ("breaker", "failovers", "id", "outstanding", "provider", "told")

    def __init__(self, deployment: Deployment, rules: BreakerRules) -> None:
        self.id, self.provider = deployment.id, deployment.provider
        self.breaker = Breaker(rules)
        self.outstanding = self.failovers = 0
        self.told = False

    def is_of(self, provider: Provider) -> bool:
        """True where what is known still holds: the same server under the same key."""
        mine = self.provider
        return (mine.base_url, mine.api_key, mine.headers) == (provider.base_url, provider.api_key, provider.headers)

    def note_opening(self, seconds: float | None, what: str) -> None:
        """Say in the log that it is left out, once until it has recovered. `seconds` None: it is not."""
        if seconds is None or self.told:
            return
        self.told = True
        fault = Fault.REFUSED if what == FORBIDDEN else self.breaker.fault
        level = _LEVELS.get(fault, logging.WARNING)
        remedy = _REMEDIES[fault].format(provider=self.provider.name)
        _LOG.log(level, "deployment %s is left out for %.3g s (%s): %s", self.id, seconds, what, remedy)

    def note_recovery(self) -> None:
        """Say in the log that it is back, where it was said that it was gone."""
        if self.told:
            self.told = False
            _LOG.info("deployment %s answers again", self.id)


class Passage:
    """One call at a deployment, from its sending to the end of its answer. It counts as under way until `leave`, which
    everybody may call who is not sure; the first outcome holds."""

    __slots__ = ("_clock", "_entry", "_has_head", "_is_judged", "_is_under_way", "_line", "_since")

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line, self._clock, self._since = line, clock, clock.monotonic()
        self._entry = line.breaker.enter(self._since)
        self._has_head, self._is_judged, self._is_under_way = False, False, True
        line.outstanding += 1

    def answer(self) -> None:
        """The head of an answer has come that is worth relaying."""
        line, self._has_head = self._line, True
        self._entry = line.breaker.answered(self._entry, self._clock.monotonic())
        if line.told and line.breaker.is_closed:
            line.note_recovery()

    def succeed(self) -> None:
        """The answer is complete."""
        if not self._is_judged:
            self._is_judged = True
            self._line.breaker.succeeded(self._entry)
        self.leave()

    def fail(self, fault: Fault, what: str, wait_s: float | None = None) -> None:
        """It went wrong, as `what` names it, such as http_500; the answer, if any, may still be read."""
        if not self._is_judged:
            self._is_judged = True
            line, now = self._line, self._clock.monotonic()
            if self._has_head:
                line.note_opening(line.breaker.broke(self._entry, now), what)
            else:
                line.note_opening(line.breaker.failed(self._entry, fault, now, wait_s), what)

    def leave(self) -> None:
        """Nothing of it is under way any more. Where its client did not wait for the end that says nothing, unless it
        has waited long for the head."""
        if not self._is_under_way:
            return
        self._is_under_way = False
        self._line.outstanding -= 1
        if self._is_judged:
            return
        if not self._has_head and self._clock.monotonic() - self._since >= PATIENCE_S:
            self.fail(Fault.ERROR, "client_gone")
        self._is_judged = True
        self._line.breaker.left(self._entry)


class Watched:
    """Port UpstreamResponse over another one: its passage learns how it ends."""

    __slots__ = ("_chunks", "_passage", "_response", "headers", "lasts", "status")

    def __init__(self, response: UpstreamResponse, passage: Passage) -> None:
        self._response, self._passage = response, passage
        self.status, self.headers = response.status, response.headers
        self.lasts: bool = getattr(response, "lasts", False)
        self._chunks: AsyncIterator[bytes] | None = None

    async def read(self) -> bytes:
        """See the port."""
        try:
            body = await self._response.read()
        except UpstreamError as error:
            self._passage.fail(Fault.ERROR, error.code)
            raise
        self._passage.succeed()
        return body

    def chunks(self) -> AsyncIterator[bytes]:
        """See the port."""
        self._chunks = self._response.chunks()
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        assert self._chunks is not None
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._passage.succeed()
            raise
        except UpstreamError as error:
            self._passage.fail(Fault.ERROR, error.code)
            raise

    async def close(self) -> None:
        """See the port."""
        self._passage.leave()
        await self._response.close()


class Try(NamedTuple):
    """A deployment in the order of trying; `line` is None where nobody needs to know how it fares."""

    place: Deployment
    line: Line | None
    tier: str


class Balancer:
    """Lines of the deployments among which there is a choice, of one worker and in memory only: workers do not tell
    one another, and a restart begins anew. `key` finds what calls have in common."""

    def __init__(
        self, clock: Clock, rules: BreakerRules, max_attempts: int, key: Key = lambda _call, _of: None
    ) -> None:
        self.lines: Mapping[str, Line] = {}
        self._clock, self._rules, self._max_attempts, self.key = clock, rules, max_attempts, key
        self._turns = count()
        self._pooled: dict[tuple[str, ...], list[Line | None]] = {}

    def take_up(self, catalog: Catalog) -> None:
        """Go on with the deployments of this catalogue. What is known of one is kept, but for one that has moved or has
        another key; calls that are under way end in their old line."""
        wanted = {place.id: place for place in _with_a_choice(catalog)}
        lines = {}
        for name, place in wanted.items():
            line = self.lines.get(name)
            if line is None or not line.is_of(place.provider):
                line = Line(place, self._rules)
            line.provider = place.provider
            lines[name] = line
        self.lines, self._pooled = lines, {}

    def enter(self, line: Line) -> Passage:
        """A call is about to be sent to that deployment."""
        return Passage(line, self._clock)

    def tries(self, route: Route, call: Call | None = None) -> list[Try]:
        """The deployments of a route in the order in which they are to be tried now, as many as may.

        Those come first that are fit to be asked; the others only after them, soonest due first. One whose provider
        does not serve us comes not at all where there is any other. Where there is a fallback, the last attempt is its.
        """
        if len(route.deployments) == 1:
            place = route.deployments[0]
            return [Try(place, self.lines.get(place.id), route.tier)]
        now = self._clock.monotonic()
        fit: list[Try] = []
        out: list[Try] = []
        first, *behind = route.pools or (pool_of(route.tier, route.deployments),)
        self._sort_in(first, call, now, fit, out)
        if behind:
            others: list[Try] = []
            for pool in behind:
                self._sort_in(pool, call, now, others, out)
            if others:
                fit = [*fit[: max(self._max_attempts - 1, 1)], *others]
        if out:
            out.sort(key=_due)
            willing = [one for one in out if one.line is not None and one.line.breaker.fault is not Fault.REFUSED]
            fit += willing if fit or willing else out
        return fit[: self._max_attempts]

    def one_of(self, route: Route) -> Route:
        """The route with the deployment only that is to be tried first now."""
        first = self.tries(route)[0]
        return changed(route, deployments=(first.place,), pools=())

    def _sort_in(self, pool: Pool, call: Call | None, now: float, fit: list[Try], out: list[Try]) -> None:
        """Append the pool's deployments, those that are fit in the order of the pool."""
        among, lines, places = [], self._lines_of(pool), pool.deployments
        for place, line in enumerate(lines):
            if line is None or line.breaker.admits(now):
                among.append(place)
            else:
                out.append(Try(places[place], line, pool.tier))
        order = among if len(among) < 2 else self._ordered(pool, call, among, lines)
        fit += [Try(places[place], lines[place], pool.tier) for place in order[: self._max_attempts]]

    def _lines_of(self, pool: Pool) -> list[Line | None]:
        lines = self._pooled.get(pool.ids)
        if lines is None:
            lines = self._pooled[pool.ids] = [self.lines.get(name) for name in pool.ids]
        return lines

    def _ordered(self, pool: Pool, call: Call | None, among: list[int], lines: list[Line | None]) -> list[int]:
        weights = pool.weights
        if pool.affinity is not Affinity.NONE and call is not None:
            key = self.key(call, pool.affinity)
            if key is not None:
                return within_bound(weights, by_key(weights, pool.seeds, among, key), _loads(lines))
        turn = next(self._turns)
        if pool.balance is Balance.WEIGHTED:
            return by_turn(weights, among, turn)
        return by_load(weights, among, _loads(lines), turn)

    def is_passed_over(self, tries: list[Try], number: int) -> bool:
        """True where another call has taken the one place of a half-open deployment since the order was made, or one
        has been found unfit, and there is a fit one behind it."""
        line = tries[number].line
        if line is None or line.breaker.is_closed or line.breaker.admits(now := self._clock.monotonic()):
            return False
        return any(later.line is None or later.line.breaker.admits(now) for later in tries[number + 1 :])


def _loads(lines: Iterable[Line | None]) -> list[int]:
    return [0 if line is None else line.outstanding for line in lines]


def _due(one: Try) -> float:
    return 0.0 if one.line is None else one.line.breaker.until


def _with_a_choice(catalog: Catalog) -> Iterable[Deployment]:
    targets = {tier.fallback for tier in catalog.tiers}
    groups = [place for place in catalog.models.values() if len(place) > 1]
    groups += [
        tier.deployments for tier in catalog.tiers if len(tier.deployments) > 1 or tier.fallback or tier.name in targets
    ]
    return (place for group in groups for place in group)
