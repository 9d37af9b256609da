"""Cache desk: asks exact cache, flight and semantic cache in that order, and stores what comes back."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cache.epochs import Epochs
from cache.exact import ExactCache
from cache.feeds import Feed
from cache.flights import Flight, Flights
from cache.key import exact_key, semantic_scope
from cache.leases import Leases
from cache.storable import Storable
from farthing.answer import Hit, StoredAnswer
from farthing.call import Call
from farthing.catalog import CacheAccess, Deployment, Feature, Replay
from farthing.errors import NotCached
from farthing.money import ZERO, Nano
from farthing.record import CacheOutcome
from gateway.hothits import HotHits
from gateway.tasks import Background

if TYPE_CHECKING:
    from cache.finding import Near, Referee, SemanticRules
    from cache.semantic import SemanticCache

FOLLOW_S: Final = 60.0
"""Seconds that a follower waits for the leader of its flight before it goes alone."""
STREAM_WAIT_S: Final = 2.0
"""The same for a stream whose leader is in another process, where it can be waited for, but not read along."""
LOOK_S: Final = 0.01
MOST_LOOK_S: Final = 0.08
SEEN_S: Final = 0.03
"""After so long a process reads what another has stored (`cache.stores.sqlite`)."""
LEASE_AFTER_S: Final = 0.1
"""How long a lease is kept after its answer was stored: by then all processes can read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """What holds where a feature says nothing. `threshold` is a cosine, `max_wrong` a share of requests,
    `shadow_share` a share of semantic hits, `judge` a model, empty for none."""

    exact: bool
    semantic: bool
    exact_ttl_s: int
    semantic_ttl_s: int
    threshold: float
    max_entry_bytes: int
    max_wrong: float = 0.005
    shadow_share: float = 0.05
    judge: str = ""


class CacheDesk:
    """All caches of the gateway. They fail open: whatever goes wrong there is a miss."""

    def __init__(
        self,
        *,
        exact: ExactCache,
        semantic: "SemanticCache | None",
        secret: bytes,
        embedder_version: str,
        background: Background,
        epochs: Epochs,
        leases: Leases | None = None,
        referee: "Referee | None" = None,
    ) -> None:
        self.exact = exact
        self.semantic = semantic
        self.secret = secret
        self.embedder_version = embedder_version
        self.hot = HotHits(exact, epochs)
        self.flights = Flights()
        self.background = background
        self.epochs = epochs
        self.leases = leases
        self.referee = referee

    def open(
        self,
        call: Call,
        feature: Feature,
        partition: str,
        rules: CacheRules,
        access: CacheAccess = CacheAccess.FULL,
    ) -> "Lookup":
        """The lookup of one call; use as an async context manager, so that followers never wait for a dead leader."""
        return Lookup(self, call, feature, partition, rules, access)


class Following(NamedTuple):
    """The stream of an identical call, which this one reads along; whoever got it leaves the flight."""

    feed: Feed
    flight: Flight


class Lookup:
    """One call at the caches. `outcome` is MISS where a cache was asked and BYPASS where none was.

    Here a call is known as a whole or not at all; `gateway.embeddings` looks up each of its `inputs`."""

    inputs = inputs_sent = 0

    def __init__(
        self,
        desk: CacheDesk,
        call: Call,
        feature: Feature,
        partition: str,
        rules: CacheRules,
        access: CacheAccess = CacheAccess.FULL,
    ) -> None:
        self._desk = desk
        self._call = call
        self._feature = feature
        self._rules = rules
        self._flight: Flight | None = None
        self._key: bytes | None = None
        self._scope: bytes | None = None
        self._holds_lease = False
        self.near: Near | None = None
        control = call.cache_control
        uses = not control.no_store and access is not CacheAccess.NONE
        self._may_read = uses and not control.no_cache
        self._uses_caches = uses
        self._may_leave = access is CacheAccess.FULL
        self._take_keys(partition)
        asked = self._may_read and (self._key is not None or self._scope is not None)
        self.outcome = CacheOutcome.MISS if asked else CacheOutcome.BYPASS

    def _take_keys(self, partition: str) -> None:
        desk, call, feature, rules = self._desk, self._call, self._feature, self._rules
        tags = call.cache_control.tags
        if feature.cache_tags:
            tags = tuple(sorted({*tags, *feature.cache_tags}))
        self.cache_tags, self.stamp = tags, desk.epochs.stamp(call.tags.tenant, call.tags.feature, tags)
        self._stamped = partition = f"{partition}\0{self.stamp}"
        if feature.exact_cache and rules.exact and self._uses_caches:
            self._key = exact_key(desk.secret, call, partition)
        if feature.semantic_cache and rules.semantic and self._uses_caches and desk.semantic is not None:
            self._scope = semantic_scope(desk.secret, call, partition, desk.embedder_version)

    def turn_to(self, partition: str) -> None:
        """Go on under the keys of another destination, after a miss: what it answers is kept as its own, and nobody
        waits for it under the old ones."""
        self.close()
        self._flight = self.near = None
        self._take_keys(partition)

    async def find(self) -> Hit | Following | None:
        """The answer kept for this call, or None. May wait for an identical call that is on its way; where both are
        streams, it is read along."""
        if not self._may_read:
            return None
        if self._key is not None and (hit := await self._find_exact(self._key)):
            return hit
        return await self._find_semantic()

    async def _find_exact(self, key: bytes) -> Hit | Following | None:
        exact, control = self._desk.exact, self._call.cache_control
        if control.is_picky:
            stored = await exact.get(key, max_age_s=control.max_age_s, min_fresh_s=control.min_fresh_s)
        else:
            stored = exact.held(key)
        if stored is not None:
            return Hit(kind=CacheOutcome.EXACT, answer=stored)
        if control.only_if_cached:
            return None  # what is under way is no stored answer
        return await self._join(key)

    async def _join(self, key: bytes) -> Hit | Following | None:
        """What an identical call under way brings; where there is none, this one leads those that come, if it may."""
        control = self._call.cache_control
        while True:
            flight = self._desk.flights.join(key) if self._may_leave else self._desk.flights.follow(key)
            if flight is None:
                return await self._find_stored(key)
            if flight.leads:
                self._flight = flight
                return await self._lead(key)
            if self._call.stream and (feed := await flight.joined(FOLLOW_S)) is not None:
                return Following(feed, flight)
            landed = await flight.landed(0 if self._call.stream else FOLLOW_S)
            if landed is not None:
                will_do = control.takes(landed.stored_ns, self._call.received_ns)
                return Hit(kind=CacheOutcome.COALESCED, answer=landed) if will_do else None
            if not flight.was_called_off:
                return None

    async def _find_stored(self, key: bytes) -> Hit | None:
        """What the store holds, for a call that nobody may follow."""
        stored = None if self._call.cache_control.is_picky else await self._desk.exact.get(key)
        return None if stored is None else Hit(kind=CacheOutcome.EXACT, answer=stored)

    async def _lead(self, key: bytes) -> Hit | None:
        """What the store holds, or another process puts there; those who follow this call get it as well."""
        if not self._call.cache_control.is_picky and (stored := await self._desk.exact.get(key)) is not None:
            self._land(stored)
            return Hit(kind=CacheOutcome.EXACT, answer=stored)
        return await self._await_others(key)

    async def _await_others(self, key: bytes) -> Hit | None:
        """What another process stores that has the lease of this key; None where none has, or where it takes too long.
        Those who follow this call wait along."""
        leases = self._desk.leases
        if leases is None:
            return None
        loop = asyncio.get_running_loop()
        until = loop.time() + (STREAM_WAIT_S if self._call.stream else FOLLOW_S)
        pause, self._holds_lease = LOOK_S, await leases.take(key)
        if self._holds_lease:
            return None
        while loop.time() < until:
            await asyncio.sleep(pause)
            self._holds_lease = await leases.take(key)
            if self._holds_lease:
                await asyncio.sleep(SEEN_S)  # who has let go may have stored something a moment before
            if stored := await self._desk.exact.peek(key):
                self._land(stored)
                return Hit(kind=CacheOutcome.COALESCED, answer=stored)
            if self._holds_lease:
                return None
            pause = min(2 * pause, MOST_LOOK_S)
        return None

    async def _find_semantic(self) -> Hit | None:
        if self._scope is None or self._desk.semantic is None or self._call.cache_control.min_fresh_s:
            return None  # how long a semantic entry still lives is not told
        hit, self.near = await self._desk.semantic.find(
            self._call, self._scope, self._semantic_rules(), max_age_s=self._call.cache_control.max_age_s
        )
        return hit

    def _semantic_rules(self) -> "SemanticRules":
        from cache.finding import SemanticRules

        floor, max_wrong = self._feature.semantic_threshold, self._feature.semantic_max_wrong
        return SemanticRules(
            floor=self._rules.threshold if floor is None else floor,
            max_wrong=self._rules.max_wrong if max_wrong is None else max_wrong,
            shadow_share=self._rules.shadow_share,
            teaches=self._may_leave,
        )

    @property
    def exact_key(self) -> bytes | None:
        """Under which the call as a whole is kept; None where it is not."""
        return self._key

    @property
    def reason(self) -> str:
        """Why a paraphrase's answer was served, in the words of a record; empty where none was."""
        return f"by the {self.near.rule} rule" if self.near is not None else ""

    @property
    def replay(self) -> Replay:
        """How the feature gives a stored answer to a stream."""
        return self._feature.replay

    def check_wanted(self) -> None:
        """Raises NotCached for a call that wants nothing but a cached answer, after none was found."""
        if self._call.cache_control.only_if_cached:
            raise NotCached(param="cache-control")

    def rest(self, places: Sequence[Deployment]) -> Call:
        """What of the call no cache knows, as it is to be sent to one of `places`."""
        return self._call

    async def complete(self, raw: bytes, parsed: Mapping[str, Any], answer: StoredAnswer) -> tuple[bytes, Nano]:
        """The client's answer, from what was sent for and what was known, and what the latter had cost."""
        return raw, ZERO

    async def store(self, answer: StoredAnswer, storable: Storable) -> None:
        """Keep an answer where it may be kept, and give it to those who wait for it."""
        if storable is Storable.NO or not self._may_leave or len(answer.body) > self._rules.max_entry_bytes:
            return
        ttl = self._feature.cache_ttl_s
        if self._key is not None:
            await self._desk.exact.put(
                self._key, self._exact_scope(), answer, ttl_s=self._rules.exact_ttl_s if ttl is None else ttl
            )
            self._land(answer)
            self._release(after_s=LEASE_AFTER_S)
        if storable is Storable.SEMANTIC and self._scope is not None and self._desk.semantic is not None:
            ttl_s = self._rules.semantic_ttl_s if ttl is None else ttl
            kept = self._desk.semantic.add(
                self._call, self._scope, answer, ttl_s=ttl_s, near=self.near, referee=self._desk.referee
            )
            self._desk.background.spawn(kept)

    def _exact_scope(self) -> bytes:
        tags = self._call.tags
        return f"{tags.tenant}\0{tags.feature}".encode()

    def _land(self, answer: StoredAnswer | None) -> None:
        if self._flight is not None:
            self._flight.land(answer)

    def depart(self) -> None:
        """The call is about to be sent upstream: from here on its followers share its fate."""
        if self._flight is not None:
            self._flight.depart()

    # --- for a stream that others follow ---------------------------------------------------------

    @property
    def leads(self) -> bool:
        """True where others may follow this call."""
        return self._flight is not None

    @property
    def followers(self) -> int:
        """How many follow this call."""
        return self._flight.followers if self._flight is not None else 0

    def broadcast(
        self, about: StoredAnswer, last_words: Callable[[Exception], bytes], on_change: Callable[[], None]
    ) -> Feed | None:
        """The feed into which this call's stream goes, where others may follow it."""
        if self._flight is None:
            return None
        feed = Feed(about, last_words)
        self._flight.broadcast(feed, on_change)
        return feed

    def begin(self) -> None:
        """The feed has its first segment."""
        if self._flight is not None:
            self._flight.begin()

    def close(self) -> None:
        """Let the followers go, here and elsewhere; idempotent."""
        self._land(None)
        self._release()

    def _release(self, after_s: float = 0.0) -> None:
        desk, key = self._desk, self._key
        if self._holds_lease and desk.leases is not None and key is not None:
            self._holds_lease = False
            desk.background.start(_released(desk.leases, key, after_s))

    def hand_over(self) -> "Lookup":
        """The same lookup for whoever finishes the stream: leaving the context manager closes this one no more."""
        heir = object.__new__(Lookup)
        heir.__dict__.update(self.__dict__)
        self._flight = None
        self._holds_lease = False
        return heir

    async def __aenter__(self) -> "Lookup":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _released(leases: Leases, key: bytes, after_s: float) -> None:
    try:
        if after_s:
            await asyncio.sleep(after_s)
    finally:
        await leases.release(key)
