"""Embeddings: the lookup of a call that is answered input by input, so that only what nobody knows is sent."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cache.embeddings import (
    BASE64,
    Answered,
    Input,
    Vector,
    composed,
    input_keys,
    inputs_of,
    packed,
    read_answer,
    shares,
    unpacked,
    weights,
)
from cache.storable import Storable
from farthing.answer import Hit, StoredAnswer
from farthing.call import Call, Endpoint
from farthing.catalog import CacheAccess, Deployment, Feature
from farthing.errors import UpstreamBroken
from farthing.money import ZERO, Nano
from farthing.record import CacheOutcome
from farthing.usage import Usage
from farthing.value import Value, changed
from gateway.cachedesk import LEASE_AFTER_S, CacheDesk, CacheRules, Following, Lookup
from gateway.jsonbody import with_changes

AT_ONCE: Final = 128
"""Keys asked for in one trip to the store: with vectors of 1,536 dimensions 0.8 MB, a few milliseconds."""
LOOKUP_S: Final = 0.25
"""Longest that a call waits for what is known, however slow a server is; the rest is sent."""
_NOTHING_SENT: Final[Mapping[str, int]] = {"prompt_tokens": 0, "total_tokens": 0}


class Kept(Value, frozen=True, kw_only=True):
    """One input's vector with its share of what the call cost that made it."""

    vector: Vector
    answer: StoredAnswer


def open_lookup(
    desk: CacheDesk, call: Call, feature: Feature, partition: str, rules: CacheRules, access: CacheAccess
) -> Lookup:
    """The lookup of one call, by input where it asks for embeddings in a form that is understood."""
    inputs = inputs_of(call.body) if call.endpoint is Endpoint.EMBEDDINGS else None
    if inputs is None:
        return desk.open(call, feature, partition, rules, access)
    return EmbeddingLookup(desk, call, feature, partition, rules, access, inputs=inputs)


class EmbeddingLookup(Lookup):
    """One embedding call at the exact cache. `outcome` is PARTIAL where some inputs are known.

    An identical call under way is waited for as for any other endpoint. Without an exact cache nothing is changed.
    """

    def __init__(
        self,
        desk: CacheDesk,
        call: Call,
        feature: Feature,
        partition: str,
        rules: CacheRules,
        access: CacheAccess = CacheAccess.FULL,
        *,
        inputs: Sequence[Input],
    ) -> None:
        self._inputs = inputs
        self._keys: list[bytes] = []
        self._known: dict[bytes, Kept] = {}
        self._fresh: dict[bytes, Kept] = {}
        self._body = b""
        self._as_asked = True
        super().__init__(desk, call, feature, partition, rules, access)
        self.inputs, self.inputs_sent = len(inputs), 0

    def _take_keys(self, partition: str) -> None:
        super()._take_keys(partition)
        self._known = {}
        if self._key is not None:
            self._keys = input_keys(self._desk.secret, self._call, self._stamped, self._inputs)

    async def find(self) -> Hit | Following | None:
        """The answer where every input is known, or an identical call that is on its way brings it."""
        if self._key is None or not self._may_read:
            return None
        self._known = await self._look_up()
        if not self._unknown:
            return Hit(kind=CacheOutcome.EXACT, answer=self._answer_of_known())
        if hit := await super().find():
            return hit
        if self._desk.leases is not None:  # another process may have had the same call under way until now
            self._known = await self._look_up()
            if not self._unknown:
                return Hit(kind=CacheOutcome.COALESCED, answer=self._answer_of_known())
        self.outcome = CacheOutcome.PARTIAL if self._known else CacheOutcome.MISS
        return None

    async def _look_up(self) -> dict[bytes, Kept]:
        """What is known, as far as it is found in `LOOKUP_S`; two thousand inputs take sixteen trips."""
        control, exact, loop = self._call.cache_control, self._desk.exact, asyncio.get_running_loop()
        known: dict[bytes, Kept] = {}
        keys = list(dict.fromkeys(self._keys))
        until = loop.time() + LOOKUP_S
        for at in range(0, len(keys), AT_ONCE):
            asked = keys[at : at + AT_ONCE]
            answers = await exact.get_all(asked, max_age_s=control.max_age_s, min_fresh_s=control.min_fresh_s)
            for key, answer in answers.items():
                if (vector := unpacked(answer.body)) is not None:
                    known[key] = Kept(vector=vector, answer=answer)
            if loop.time() > until:
                break
        # A model that has got another dimension meanwhile: what is put together must be of one kind.
        return known if len({len(kept.vector.data) for kept in known.values()}) < 2 else {}

    def _answer_of_known(self) -> StoredAnswer:
        kept = self._kept()
        newest = max(kept, key=lambda one: one.answer.stored_ns)
        envelope = {"object": "list", "data": [], "model": newest.vector.model, "usage": _NOTHING_SENT}
        return changed(
            newest.answer,
            body=composed(envelope, [one.vector.data for one in kept], self._encoding),
            cost=_cost(kept),
            stored_ns=min(one.answer.stored_ns for one in kept),
        )

    @property
    def _encoding(self) -> str | None:
        return self._call.body.get("encoding_format")

    # --- what is sent ----------------------------------------------------------------------------

    def rest(self, places: Sequence[Deployment]) -> Call:
        """The call with each unknown input once, as base64 where every one of `places` answers so: it has a quarter
        of the bytes and is read in a third of the time."""
        self.inputs_sent = self.inputs
        if self._key is None:
            return self._call
        unknown = self._unknown
        self.inputs_sent = len(unknown)
        changes: dict[str, Any] = {}
        if len(unknown) < len(self._inputs):
            changes["input"] = list(unknown.values())
        if self._encoding != BASE64 and all(place.provider.quirks.base64_embeddings for place in places):
            changes["encoding_format"] = BASE64
        self._as_asked = not changes
        if not changes:
            return self._call
        raw = with_changes(self._call.raw, changes)
        return changed(self._call, raw=raw, body={**self._call.body, **changes}, input_bound=len(raw))

    @property
    def _unknown(self) -> dict[bytes, Input]:
        pairs = zip(self._keys, self._inputs, strict=True)
        return {key: one for key, one in pairs if key not in self._known}

    # --- what comes back -------------------------------------------------------------------------

    async def complete(self, raw: bytes, parsed: Mapping[str, Any], answer: StoredAnswer) -> tuple[bytes, Nano]:
        """See Lookup. Raises UpstreamBroken where the client's answer cannot be put together."""
        if self._key is None:
            return raw, ZERO
        found = read_answer(parsed, self.inputs_sent)
        if found is None or not self._fits(found):
            return await self._unusable(raw)
        self._fresh = self._shared_out(found, parsed, answer)
        kept = self._kept()
        is_it = self.inputs_sent == self.inputs and found.as_sent and found.encodings == {self._encoding or "float"}
        self._body = raw if is_it else composed(parsed, [one.vector.data for one in kept], self._encoding)
        return self._body, Nano(_cost(kept) - answer.cost)

    def _kept(self) -> list[Kept]:
        return [self._known.get(key) or self._fresh[key] for key in self._keys]

    def _fits(self, found: Answered) -> bool:
        size = len(found.vectors[0])
        return all(len(kept.vector.data) == size for kept in self._known.values())

    async def _unusable(self, raw: bytes) -> tuple[bytes, Nano]:
        """An absurd answer passes as it is where it answers the very call that the client made. Known vectors that
        it may not go with are forgotten: the next call asks for all."""
        for key in self._known:
            await self._desk.exact.forget(key)
        if self._as_asked:
            return raw, ZERO
        raise UpstreamBroken(
            "The model provider's answer does not have one vector of finite numbers for each input, all of one length."
        )

    def _shared_out(self, found: Answered, parsed: Mapping[str, Any], answer: StoredAnswer) -> dict[bytes, Kept]:
        """Each new vector with its part of what the call cost, by the length of its input; together they have all."""
        unknown = self._unknown
        weighed = weights(list(unknown.values()))
        costs, tokens = shares(answer.cost, weighed), shares(answer.usage.input_total, weighed)
        model = parsed.get("model")
        name = model if type(model) is str else answer.model
        fresh = {}
        for key, data, cost, count in zip(unknown, found.vectors, costs, tokens, strict=True):
            vector = Vector(name, data)
            usage = Usage(input_uncached=count, source=answer.usage.source)
            fresh[key] = Kept(vector=vector, answer=changed(answer, body=packed(vector), usage=usage, cost=Nano(cost)))
        return fresh

    async def store(self, answer: StoredAnswer, storable: Storable) -> None:
        """Keep each new vector, and give the whole answer to those who wait for it."""
        if storable is Storable.NO or not self._may_leave or not self._fresh:
            return
        ttl_s = self._rules.exact_ttl_s if self._feature.cache_ttl_s is None else self._feature.cache_ttl_s
        scope, most = self._exact_scope(), self._rules.max_entry_bytes
        puts = [
            self._desk.exact.put(key, scope, kept.answer, ttl_s=ttl_s)
            for key, kept in self._fresh.items()
            if len(kept.answer.body) <= most
        ]
        await asyncio.gather(*puts)
        if self.followers:
            whole = with_changes(self._body, {"usage": _NOTHING_SENT})
            self._land(changed(answer, body=whole, cost=_cost(self._kept())))
        self._release(after_s=LEASE_AFTER_S)


def _cost(kept: Iterable[Kept]) -> Nano:
    return Nano(sum(one.answer.cost for one in kept))
