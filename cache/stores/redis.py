"""Answers, purges and leases in one Redis or Valkey server, which the gateways of several machines share."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from farthing.ports import Clock

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
Client = Any  # redis-py's commands are typed for both of its clients at once

DEADLINE_S: Final = 0.05
"""Longest that a call waits for an answer; a local server takes 0.2 ms."""
_EACH_S: Final = 0.001
"""Longer for each further answer: a vector of 6 kB takes that at 50 Mbit/s."""
PATIENCE_S: Final = 0.5
"""Longest that is waited for what no call waits for."""
_MOST_LATE: Final = 3
_BATCH: Final = 64
_MAX_WAITING: Final = 32 << 20  # bytes of answers that wait to be sent; more are dropped
_LEASE_MS: Final = 10_000
_SPARE_MS: Final = 1_000  # a value says itself when it expires, by the gateways' clock
_PREFIX: Final = b"farthing:1:"
_EPOCHS: Final = _PREFIX + b"epochs"
_NEWEST: Final = b"#"

_ADVANCE: Final = """
local number = math.max(tonumber(ARGV[2]), tonumber(redis.call('HGET', KEYS[1], '#') or '0') + 1)
local text = string.format('%.0f', number)
if ARGV[1] == '||' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], text, '#', text)
return text
"""
_BEGIN: Final = (
    "if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], '||', ARGV[1], '#', ARGV[1]) end"
)
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_RENEW: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
)


class Away(ConnectionError):
    """The server did not answer lately, so it was not asked."""


class RedisLink:
    """The way to the server. Once it is away (no connection, or three answers in a row too late) nobody asks it but
    `probe`, so a dead server costs a call nothing; when that succeeds, all do. `errors` counts failures, not what was
    not even asked."""

    def __init__(self, url: str, *, max_connections: int = 8) -> None:
        self.errors = 0
        self.is_up = True
        self._late = 0
        self._client: Client = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=max_connections,
                timeout=None,  # every question has a deadline of its own
                socket_connect_timeout=PATIENCE_S,
                socket_timeout=None,
                retry=Retry(NoBackoff(), 0),
                protocol=2,  # a new connection asks nothing of the server
                driver_info=None,
            )
        )

    async def ask(self, question: Callable[[Client], Awaitable[T]], deadline_s: float = DEADLINE_S) -> T:
        """The answer. Raises Away, OSError (TimeoutError) or RedisError."""
        if not self.is_up:
            raise Away
        return await self.probe(question, deadline_s)

    async def probe(self, question: Callable[[Client], Awaitable[T]], deadline_s: float = PATIENCE_S) -> T:
        """The same, whether or not the server answered lately."""
        try:
            async with asyncio.timeout(deadline_s):
                answer = await question(self._client)
        except (RedisError, OSError) as error:
            self._failed(error)
            raise
        self._late = 0
        if not self.is_up:
            self.is_up = True
            _LOG.info("cache server: it answers again")
        return answer

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        self._late += 1 if isinstance(error, TimeoutError) else _MOST_LATE
        if self.is_up and self._late >= _MOST_LATE:
            self.is_up = False
            _LOG.warning("cache server: no answer (%s); until there is one, nobody asks it", type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Value:
    data: bytes
    expires_ns: int


def _weight(value: _Value | None) -> int:
    return 0 if value is None else len(value.data)


class RedisStore:
    """Port `Store`. What is put can be read at once by this process, and soon by the others: values are sent in
    batches by a task that `spawn` runs, and no call waits for it. The server's own `maxmemory` bounds it.

    `dropped` counts values that were not sent: too many waiting, or a failed batch.
    """

    def __init__(self, link: RedisLink, clock: Clock, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.dropped = 0
        self._link = link
        self._clock = clock
        self._spawn = spawn
        self._waiting: dict[bytes, _Value | None] = {}
        self._waiting_bytes = 0
        self._sends = False

    async def read(self, keys: Sequence[bytes], now_ns: int) -> dict[bytes, bytes]:
        """See the port. Raises OSError or RedisError where the server does not answer."""
        held = {key: self._waiting[key] for key in keys if key in self._waiting}
        values = {key: one.data for key, one in held.items() if one is not None and one.expires_ns > now_ns}
        if asked := [key for key in keys if key not in held]:
            wait_s = DEADLINE_S + _EACH_S * (len(asked) - 1)
            answers = await self._link.ask(lambda client: client.mget([_answer(key) for key in asked]), wait_s)
            for key, value in zip(asked, answers, strict=True):
                if value is not None and int.from_bytes(value[:8], "big") > now_ns:
                    values[key] = value[8:]
        return values

    async def put(self, key: bytes, value: bytes, *, scope: bytes, expires_ns: int) -> None:
        """See the port."""
        del scope
        if not self._link.is_up or self._waiting_bytes + len(value) > _MAX_WAITING:
            self.dropped += 1
            return
        self._wait(key, _Value(value, expires_ns))

    async def delete(self, key: bytes) -> None:
        """See the port."""
        self._wait(key, None)

    async def size(self) -> tuple[int, int]:
        """Keys and bytes of the whole server, whatever else is in it."""
        keys = await self._link.probe(lambda client: client.dbsize())
        memory = await self._link.probe(lambda client: client.info("memory"))
        return int(keys), int(memory["used_memory"])

    async def written(self) -> None:
        """Wait until all that was put was sent, or dropped."""
        while self._sends:  # noqa: ASYNC110 - for tests and the end
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """See the port; the link is closed by whoever opened it."""
        await self.written()

    def _wait(self, key: bytes, value: _Value | None) -> None:
        self._waiting_bytes += _weight(value) - _weight(self._waiting.get(key))
        self._waiting[key] = value
        if not self._sends:
            self._sends = True
            self._spawn(self._send())

    async def _send(self) -> None:
        try:
            while batch := dict(islice(self._waiting.items(), _BATCH)):
                try:
                    await self._link.ask(lambda client, batch=batch: self._pipeline(client, batch), PATIENCE_S)  # type: ignore[misc]
                except (RedisError, OSError):
                    self.dropped += len(batch)
                for key, value in batch.items():
                    if self._waiting.get(key) is value:  # else a younger one came meanwhile
                        del self._waiting[key]
                        self._waiting_bytes -= _weight(value)
        finally:
            self._sends = False

    async def _pipeline(self, client: Client, batch: dict[bytes, _Value | None]) -> None:
        now_ns = self._clock.wall_ns()
        async with client.pipeline(transaction=False) as pipeline:
            for key, value in batch.items():
                if value is None:
                    pipeline.delete(_answer(key))
                    continue
                lives_ms = max(0, value.expires_ns - now_ns) // 1_000_000 + _SPARE_MS
                pipeline.set(_answer(key), value.expires_ns.to_bytes(8, "big") + value.data, px=lives_ms)
            await pipeline.execute()


class RedisEpochs:
    """Port `EpochRows` in one hash. Its `newer` is what finds out that a dead server answers again."""

    def __init__(self, link: RedisLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._last = b""

    async def newer(self, than: int) -> Sequence[tuple[str, int]]:
        """See the port."""
        newest = await self._link.probe(lambda client: client.hget(_EPOCHS, _NEWEST))
        if newest is not None and newest == self._last and int(newest) <= than:
            return []
        if newest is None:
            now_us = self._clock.wall_ns() // 1000
            await self._link.probe(lambda client: client.eval(_BEGIN, 1, _EPOCHS, now_us))
        rows = await self._link.probe(lambda client: client.hgetall(_EPOCHS))
        self._last = rows.pop(_NEWEST, b"")
        return [(name.decode(), int(number)) for name, number in rows.items() if int(number) > than]

    async def advance(self, name: str, at_us: int) -> int:
        """See the port."""
        await self.newer(0)
        return int(await self._link.probe(lambda client: client.eval(_ADVANCE, 1, _EPOCHS, name, at_us)))

    async def close(self) -> None:
        """See the port; the link is closed by whoever opened it."""


class RedisLeases:
    """Port `Leases`: a key with a token for ten seconds, renewed each second. Where the server is away all take."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._token = secrets.token_bytes(16)
        self._held: Counter[bytes] = Counter()

    async def take(self, key: bytes) -> bool:
        """See the port."""
        if not self._held[key]:
            try:
                took = await self._link.ask(lambda client: client.set(_lease(key), self._token, nx=True, px=_LEASE_MS))
            except (RedisError, OSError):
                took = True
            if not took:
                del self._held[key]
                return False
        self._held[key] += 1
        return True

    async def release(self, key: bytes) -> None:
        """See the port."""
        self._held[key] -= 1
        if self._held[key] <= 0:
            del self._held[key]
            await self._try(lambda client: client.eval(_RELEASE, 1, _lease(key), self._token))

    async def renew(self) -> None:
        """See the port."""
        if held := list(self._held):
            await self._try(lambda client: self._renew(client, held))

    async def close(self) -> None:
        """See the port."""
        for key in list(self._held):
            self._held[key] = 1
            await self.release(key)

    async def _renew(self, client: Client, held: Sequence[bytes]) -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for key in held:
                pipeline.eval(_RENEW, 1, _lease(key), self._token, _LEASE_MS)
            await pipeline.execute()

    async def _try(self, question: Callable[[Client], Awaitable[object]]) -> None:
        with suppress(RedisError, OSError):  # it expires by itself
            await self._link.ask(question, PATIENCE_S)


def _answer(key: bytes) -> bytes:
    return _PREFIX + b"a:" + key


def _lease(key: bytes) -> bytes:
    return _PREFIX + b"l:" + key
