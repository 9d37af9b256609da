"""Every store keeps the same promises, whatever it is made of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cache.stores.memory import MemoryStore
from cache.stores.sqlite import SQLiteStore
from cache.testing import value_of
from farthing.ports import Store
from gateway.tasks import Background
from ledger.testing import ManualClock

NOW = 1_800_000_000 * 10**9
LATER = NOW + 10**9
KEY = b"k" * 32
SCOPE = b"s" * 32
MAX_BYTES = 100_000


@pytest.fixture(params=["memory", "sqlite", "valkey"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "valkey":
        async with redis_store(request.getfixturevalue("valkey_url")) as made:
            yield made
        return
    kept: Store = (
        MemoryStore(max_bytes=MAX_BYTES)
        if request.param == "memory"
        else SQLiteStore.open(tmp_path / "cache.db", max_bytes=MAX_BYTES)
    )
    yield kept
    await kept.close()


@asynccontextmanager
async def redis_store(url: str) -> AsyncIterator[Store]:
    from cache.stores.redis import RedisLink, RedisStore

    link, background = RedisLink(url), Background()
    made = RedisStore(link, ManualClock(NOW), background.start)
    yield made
    await made.close()
    await link.close()


async def test_an_unknown_key_has_no_value(store: Store) -> None:
    assert await value_of(store, KEY, NOW) is None


async def test_what_was_put_can_be_read_at_once(store: Store) -> None:
    await store.put(KEY, b"value", scope=SCOPE, expires_ns=LATER)

    assert await value_of(store, KEY, NOW) == b"value"


async def test_a_value_is_gone_at_the_very_moment_of_its_expiry(store: Store) -> None:
    await store.put(KEY, b"value", scope=SCOPE, expires_ns=LATER)

    assert await value_of(store, KEY, LATER - 1) == b"value"
    assert await value_of(store, KEY, LATER) is None


async def test_a_second_value_replaces_the_first(store: Store) -> None:
    await store.put(KEY, b"old", scope=SCOPE, expires_ns=LATER)
    await store.put(KEY, b"new", scope=SCOPE, expires_ns=LATER + 5)

    assert await value_of(store, KEY, LATER + 4) == b"new"


async def test_a_deleted_value_is_gone(store: Store) -> None:
    await store.put(KEY, b"value", scope=SCOPE, expires_ns=LATER)

    await store.delete(KEY)

    assert await value_of(store, KEY, NOW) is None


async def test_deleting_what_is_not_there_is_nothing(store: Store) -> None:
    await store.delete(KEY)

    assert await value_of(store, KEY, NOW) is None


async def test_keys_that_share_a_prefix_are_strangers(store: Store) -> None:
    await store.put(KEY, b"value", scope=SCOPE, expires_ns=LATER)

    assert await value_of(store, KEY[:-1] + b"x", NOW) is None
    assert await value_of(store, KEY[:16], NOW) is None


async def test_several_values_are_read_at_once_those_that_are_there_and_alive(store: Store) -> None:
    keys = [bytes([at]) * 32 for at in range(5)]
    for key in keys[:3]:
        await store.put(key, key[:4], scope=SCOPE, expires_ns=LATER)
    await _settled(store)
    await store.put(keys[3], b"waits to be written", scope=SCOPE, expires_ns=LATER)
    await store.put(keys[1], b"gone", scope=SCOPE, expires_ns=NOW)
    await store.delete(keys[2])

    found = await store.read(keys, NOW)

    assert dict(found) == {keys[0]: keys[0][:4], keys[3]: b"waits to be written"}


async def test_no_keys_have_no_values(store: Store) -> None:
    assert dict(await store.read([], NOW)) == {}


async def test_any_bytes_are_kept_as_they_are(store: Store) -> None:
    value = bytes(range(256)) * 4

    await store.put(b"\x00" * 32, value, scope=b"\x00", expires_ns=LATER)

    assert await value_of(store, b"\x00" * 32, NOW) == value


async def test_a_store_knows_how_much_it_keeps(store: Store) -> None:
    empty, _ = await store.size()
    await store.put(KEY, b"v" * 1_000, scope=SCOPE, expires_ns=LATER)
    await store.put(b"o" * 32, b"v" * 1_000, scope=SCOPE, expires_ns=LATER)
    await _settled(store)

    kept, size = await store.size()

    assert (empty, kept) == (0, 2)
    assert size >= 2_000


async def test_the_store_stays_under_its_cap_and_keeps_what_lives_longest(store: Store) -> None:
    if not isinstance(store, MemoryStore | SQLiteStore):
        pytest.skip("the server's maxmemory and its policy decide that")
    keys = [bytes([i]) * 32 for i in range(40)]
    for i, key in enumerate(keys):
        await store.put(key, b"v" * 5_000, scope=SCOPE, expires_ns=LATER + i)
    await _settled(store)

    kept = [key for key in keys if await value_of(store, key, NOW) is not None]

    assert 1 <= len(kept) <= MAX_BYTES // 5_000
    assert keys[-1] in kept
    assert keys[0] not in kept


async def _settled(store: Store) -> None:
    if not isinstance(store, MemoryStore):
        await store.written()  # type: ignore[attr-defined]
