"""The exact cache: answers in this process's memory over those in a store, by key."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cache.entry import CorruptEntry, Entry, pack, unpack
from farthing.answer import StoredAnswer
from farthing.ports import Clock, Store

_LOG: Final = logging.getLogger(__name__)
_OVERHEAD: Final = 800  # bytes of an entry in memory besides its body, measured with tracemalloc
_LONG: Final = 1 << 18  # bytes, above which compressing would hold up the loop for more than a millisecond
NS: Final = 1_000_000_000


@dataclass(slots=True)
class ExactCounts:
    """What happened so far; `errors` are failures of the store, `corrupt` entries that were thrown away."""

    memory_hits: int = 0
    store_hits: int = 0
    misses: int = 0
    stored: int = 0
    corrupt: int = 0
    errors: int = 0


class ExactCache:
    """Gives an answer only under the very key it was put under, while it lives. Never raises.

    A failure is a miss, and is counted. `memory_bytes` bounds the entries held in this process; the least recently
    used leave first (the store still has them).
    """

    def __init__(self, store: Store, clock: Clock, *, memory_bytes: int) -> None:
        self.counts = ExactCounts()
        self.store = store
        self._clock = clock
        self._memory_bytes = memory_bytes
        self._held: OrderedDict[bytes, Entry] = OrderedDict()
        self._held_bytes = 0

    async def get(self, key: bytes, *, max_age_s: int | None = None, min_fresh_s: int = 0) -> StoredAnswer | None:
        """The live answer that is not older than `max_age_s` seconds and lives longer than `min_fresh_s` more, or
        None."""
        return (await self.get_all((key,), max_age_s=max_age_s, min_fresh_s=min_fresh_s)).get(key)

    async def get_all(
        self, keys: Sequence[bytes], *, max_age_s: int | None = None, min_fresh_s: int = 0
    ) -> dict[bytes, StoredAnswer]:
        """Those answers of several keys, no key twice; the store is asked once for all that are not in memory."""
        now_ns = self._clock.wall_ns()
        until_ns = now_ns + min_fresh_s * NS

        def will_do(entry: Entry) -> bool:
            return entry.expires_ns > until_ns and entry.answer.is_young(now_ns, max_age_s)

        held = {key: entry.answer for key in keys if (entry := self._live(key, now_ns)) and will_do(entry)}
        self.counts.memory_hits += len(held)
        if len(held) == len(keys):
            return held
        # Another process may have stored a younger answer than the one held here.
        rest = [key for key in keys if key not in held]
        stored = {key: one.answer for key, one in (await self._read(rest, now_ns)).items() if will_do(one)}
        self.counts.store_hits += len(stored)
        self.counts.misses += len(rest) - len(stored)
        return held | stored

    def _live(self, key: bytes, now_ns: int) -> Entry | None:
        entry = self._held.get(key)
        if entry is None or entry.expires_ns <= now_ns:
            return None
        self._held.move_to_end(key)
        return entry

    def held(self, key: bytes) -> StoredAnswer | None:
        """The live answer in this process's memory, without a wait; a miss is not counted."""
        entry = self._live(key, self._clock.wall_ns())
        if entry is None:
            return None
        self.counts.memory_hits += 1
        return entry.answer

    async def peek(self, key: bytes) -> StoredAnswer | None:
        """The live answer that another process has stored by now; counts nothing."""
        entry = (await self._read((key,), self._clock.wall_ns())).get(key)
        return None if entry is None else entry.answer

    async def put(self, key: bytes, scope: bytes, answer: StoredAnswer, *, ttl_s: int) -> None:
        """Keep an answer for `ttl_s` seconds at most; zero keeps nothing. `scope` groups what belongs together."""
        if ttl_s <= 0:
            return
        entry = Entry(key=key, expires_ns=self._clock.wall_ns() + lifetime_ns(key, ttl_s), answer=answer)
        self._hold(entry)
        try:
            data = await asyncio.to_thread(pack, entry) if len(answer.body) > _LONG else pack(entry)
            await self.store.put(key, data, scope=scope, expires_ns=entry.expires_ns)
            self.counts.stored += 1
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("put", error)

    async def close(self) -> None:
        """Let go of the store."""
        self._held.clear()
        await self.store.close()

    async def _read(self, keys: Sequence[bytes], now_ns: int) -> dict[bytes, Entry]:
        try:
            values = await self.store.read(keys, now_ns)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("get", error)
            return {}
        found = {}
        for key in keys:
            if (data := values.get(key)) is None:
                self._release(key)
            elif (entry := await self._unpacked(key, data)) is not None and entry.expires_ns > now_ns:
                self._hold(entry)
                found[key] = entry
        return found

    async def _unpacked(self, key: bytes, data: bytes) -> Entry | None:
        try:
            return await asyncio.to_thread(unpack, data, key=key) if len(data) > _LONG else unpack(data, key=key)
        except CorruptEntry:
            self.counts.corrupt += 1
            await self.forget(key)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("get", error)
        return None

    async def forget(self, key: bytes) -> None:
        """Serve this answer no more."""
        self._release(key)
        try:
            await self.store.delete(key)
        except Exception as error:  # noqa: BLE001 - caches fail open
            self._failed("delete", error)

    def _hold(self, entry: Entry) -> None:
        self._release(entry.key)
        if _weight(entry) > self._memory_bytes:
            return
        self._held[entry.key] = entry
        self._held_bytes += _weight(entry)
        while self._held_bytes > self._memory_bytes:
            self._held_bytes -= _weight(self._held.popitem(last=False)[1])

    def _release(self, key: bytes) -> None:
        entry = self._held.pop(key, None)
        if entry is not None:
            self._held_bytes -= _weight(entry)

    def _failed(self, what: str, error: Exception) -> None:
        self.counts.errors += 1
        if self.counts.errors.bit_count() == 1:  # the 1st, 2nd, 4th, 8th … failure: a dead disk is no flood
            name, times = type(error).__name__, self.counts.errors
            _LOG.warning("exact cache: %s failed (%s), %d failures so far", what, name, times)


def lifetime_ns(key: bytes, ttl_s: int) -> int:
    """How long an entry of this key lives: up to a tenth less than `ttl_s` seconds, so that what was stored in one
    moment does not expire in one, and never more, for that was promised. The same in every process."""
    share = int.from_bytes(key[:4], "big")  # of 2^32; keys are hashes
    return ttl_s * NS - ttl_s * NS // 10 * share // 2**32


def _weight(entry: Entry) -> int:
    return len(entry.answer.body) + _OVERHEAD
