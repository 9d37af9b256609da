"""The exact cache: memory over a store, and a miss whenever anything is wrong."""

import asyncio
import base64
import hashlib
import random
import sqlite3
import stat
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

from cache.entry import CorruptEntry, Entry, pack, unpack
from cache.exact import ExactCache, lifetime_ns
from cache.stores.memory import MemoryStore
from cache.stores.sqlite import SQLiteStore
from cache.testing import BrokenStore, example_answer, example_body, value_of
from farthing.value import changed
from ledger.testing import ManualClock

KEY, OTHER = b"k" * 32, b"o" * 32
SCOPE = b"s" * 32
ANSWER = example_answer()


def _cache(store: MemoryStore | None = None, *, memory_bytes: int = 100_000) -> tuple[ExactCache, ManualClock]:
    clock = ManualClock()
    return ExactCache(store or MemoryStore(), clock, memory_bytes=memory_bytes), clock


async def test_an_answer_is_found_under_its_key_only() -> None:
    cache, _ = _cache()
    await cache.put(KEY, SCOPE, ANSWER, ttl_s=60)

    assert await cache.get(KEY) == ANSWER
    assert await cache.get(OTHER) is None
    assert (cache.counts.memory_hits, cache.counts.misses, cache.counts.stored) == (1, 1, 1)


@pytest.mark.parametrize("memory_bytes", [0, 100_000])
async def test_an_answer_dies_with_its_ttl(memory_bytes: int) -> None:
    cache, clock = _cache(memory_bytes=memory_bytes)
    await cache.put(KEY, SCOPE, ANSWER, ttl_s=60)

    clock.advance(54)
    assert await cache.get(KEY) == ANSWER
    clock.advance(6)
    assert await cache.get(KEY) is None


async def test_what_was_stored_in_one_moment_expires_bit_by_bit_and_never_late() -> None:
    keys = [hashlib.sha256(bytes([at])).digest() for at in range(200)]

    lives = sorted(lifetime_ns(key, 1000) / 1e9 for key in keys)

    assert lives == sorted(lifetime_ns(key, 1000) / 1e9 for key in keys)
    assert 900 <= lives[0] < 905
    assert 995 < lives[-1] <= 1000
    assert max(later - sooner for sooner, later in pairwise(lives)) < 5


async def test_a_ttl_of_nothing_keeps_nothing() -> None:
    cache, _ = _cache()

    await cache.put(KEY, SCOPE, ANSWER, ttl_s=0)

    assert await cache.get(KEY) is None


@pytest.mark.parametrize("memory_bytes", [0, 100_000])
async def test_a_caller_may_refuse_answers_that_are_too_old_for_him(memory_bytes: int) -> None:
    cache, clock = _cache(memory_bytes=memory_bytes)
    await cache.put(KEY, SCOPE, ANSWER, ttl_s=600)
    clock.advance(30)

    assert await cache.get(KEY, max_age_s=29) is None
    assert await cache.get(KEY, max_age_s=30) == ANSWER
    assert await cache.get(KEY, max_age_s=0) is None
    assert await cache.get(KEY) == ANSWER


async def test_another_process_finds_what_this_one_stored() -> None:
    store = MemoryStore()
    here, _ = _cache(store)
    there, _ = _cache(store)
    await here.put(KEY, SCOPE, ANSWER, ttl_s=60)

    assert await there.get(KEY) == ANSWER
    assert await there.get(KEY) == ANSWER
    assert (there.counts.store_hits, there.counts.memory_hits) == (1, 1)


async def test_a_younger_answer_of_another_process_is_found_where_ours_is_too_old() -> None:
    store = MemoryStore()
    here, clock = _cache(store)
    there, _ = _cache(store)
    await here.put(KEY, SCOPE, ANSWER, ttl_s=600)
    clock.advance(100)
    younger = changed(ANSWER, stored_ns=clock.wall_ns())
    await there.put(KEY, SCOPE, younger, ttl_s=600)

    assert await here.get(KEY, max_age_s=50) == younger


async def test_memory_holds_the_latest_used_within_its_bytes() -> None:
    cache, _ = _cache(memory_bytes=12_000)
    big = example_answer(example_body("x" * 4_000))
    keys = [bytes([at]) * 32 for at in range(3)]
    await cache.put(keys[0], SCOPE, big, ttl_s=60)
    await cache.put(keys[1], SCOPE, big, ttl_s=60)
    await cache.get(keys[0])
    await cache.put(keys[2], SCOPE, big, ttl_s=60)

    found = [await cache.get(key) for key in (keys[0], keys[2], keys[1])]

    assert found == [big] * 3
    assert (cache.counts.memory_hits, cache.counts.store_hits) == (3, 1)


async def test_a_dead_store_makes_misses_and_never_raises() -> None:
    cache = ExactCache(BrokenStore(), ManualClock(), memory_bytes=0)

    await cache.put(KEY, SCOPE, ANSWER, ttl_s=60)

    assert await cache.get(KEY) is None
    assert cache.counts.errors == 2


async def test_memory_still_serves_while_the_store_is_dead() -> None:
    cache = ExactCache(BrokenStore(), ManualClock(), memory_bytes=100_000)

    await cache.put(KEY, SCOPE, ANSWER, ttl_s=60)

    assert await cache.get(KEY) == ANSWER


ENTRY = pack(Entry(key=KEY, expires_ns=1_900_000_000 * 10**9, answer=ANSWER))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"not an entry",
        b"\x02" + ENTRY[1:],
        ENTRY[:-1],
        ENTRY + b"x",
        ENTRY.replace(b"Paris", b"Pariz"),
        pack(Entry(key=OTHER, expires_ns=1_900_000_000 * 10**9, answer=ANSWER)),
    ],
)
async def test_a_damaged_or_foreign_entry_is_a_miss_and_is_deleted(data: bytes) -> None:
    store = MemoryStore()
    cache, clock = _cache(store)
    await store.put(KEY, data, scope=SCOPE, expires_ns=clock.wall_ns() + 10**12)

    assert await cache.get(KEY) is None
    assert await value_of(store, KEY, clock.wall_ns()) is None
    assert cache.counts.corrupt == 1


@pytest.mark.parametrize("size", [0, 1_000, 5_000, 700_000])
async def test_a_large_answer_is_kept_small_and_comes_back_whole(size: int) -> None:
    store = MemoryStore()
    cache, clock = _cache(store, memory_bytes=0)
    large = example_answer(example_body("All that one may say of Paris. " * (size // 31)))

    await cache.put(KEY, SCOPE, large, ttl_s=60)

    assert await cache.get(KEY) == large
    kept = await value_of(store, KEY, clock.wall_ns())
    assert kept is not None
    assert size < 1_024 or len(kept) < len(large.body) / 4


def test_what_does_not_shrink_is_kept_as_it_is() -> None:
    noise = example_answer(example_body(base64.b64encode(random.Random(1).randbytes(4_000)).decode()))

    data = pack(Entry(key=KEY, expires_ns=1, answer=noise))

    assert data[:1] == b"\x01"
    assert unpack(data, key=KEY).answer == noise


def test_an_entry_cut_off_within_its_compression_is_corrupt() -> None:
    content = zlib.compress(b"x" * 9_000)[:-5]

    with pytest.raises(CorruptEntry):
        unpack(b"\x02" + zlib.crc32(content).to_bytes(4, "big") + content, key=KEY)


def test_an_entry_comes_back_as_it_went_in() -> None:
    entry = unpack(ENTRY, key=KEY)

    assert entry.answer == ANSWER
    with pytest.raises(CorruptEntry):
        unpack(ENTRY, key=OTHER)


# --- the file ------------------------------------------------------------------------------------


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    path, clock = tmp_path / "cache.db", ManualClock()
    before = ExactCache(SQLiteStore.open(path, max_bytes=1 << 20), clock, memory_bytes=0)
    await before.put(KEY, SCOPE, ANSWER, ttl_s=60)
    await before.close()

    after = ExactCache(SQLiteStore.open(path, max_bytes=1 << 20), clock, memory_bytes=0)
    found = await after.get(KEY)
    await after.close()

    assert found == ANSWER


async def test_two_processes_share_the_file(tmp_path: Path) -> None:
    path, now = tmp_path / "cache.db", ManualClock().wall_ns()
    here = SQLiteStore.open(path, max_bytes=1 << 20)
    there = SQLiteStore.open(path, max_bytes=1 << 20)
    for at in range(50):
        await here.put(bytes([at]) * 32, b"here", scope=SCOPE, expires_ns=now + 10**12)
        await there.put(bytes([100 + at]) * 32, b"there", scope=SCOPE, expires_ns=now + 10**12)
    await asyncio.gather(here.written(), there.written())

    crossed = [await value_of(there, bytes([at]) * 32, now) for at in range(50)]
    crossed += [await value_of(here, bytes([100 + at]) * 32, now) for at in range(50)]
    await here.close()
    await there.close()

    assert crossed == [b"here"] * 50 + [b"there"] * 50


@pytest.mark.parametrize("damage", ["not a database", "another version"])
async def test_a_file_that_cannot_be_used_is_begun_anew(tmp_path: Path, damage: str) -> None:
    path, now = tmp_path / "cache.db", ManualClock().wall_ns()
    if damage == "not a database":
        path.write_bytes(b"rubbish " * 1000)
    else:
        connection = sqlite3.connect(path)
        connection.executescript("CREATE TABLE answers (x); PRAGMA user_version = 99")
        connection.close()

    store = SQLiteStore.open(path, max_bytes=1 << 20)
    await store.put(KEY, b"value", scope=SCOPE, expires_ns=now + 10**9)
    await store.written()
    found = await value_of(store, KEY, now)
    await store.close()

    assert found == b"value"


async def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cache"):
        SQLiteStore.open(tmp_path / "missing" / "cache.db", max_bytes=1 << 20)


async def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    store = SQLiteStore.open(tmp_path / "cache.db", max_bytes=1 << 20)
    await store.close()

    assert stat.S_IMODE((tmp_path / "cache.db").stat().st_mode) == 0o600


async def test_a_value_larger_than_an_eighth_of_the_cap_is_dropped(tmp_path: Path) -> None:
    store, now = SQLiteStore.open(tmp_path / "cache.db", max_bytes=8_000), ManualClock().wall_ns()

    await store.put(KEY, b"v" * 1_000, scope=SCOPE, expires_ns=now + 10**9)

    found = await value_of(store, KEY, now)
    await store.close()
    assert (found, store.dropped) == (None, 1)


async def test_expired_values_leave_the_file_and_the_count_of_bytes(tmp_path: Path) -> None:
    path, now = tmp_path / "cache.db", ManualClock().wall_ns()
    store = SQLiteStore.open(path, max_bytes=1 << 20)
    for at in range(20):
        await store.put(bytes([at]) * 32, b"v" * 100, scope=SCOPE, expires_ns=now + 10**9)
    await store.put(KEY, b"lives", scope=SCOPE, expires_ns=now + 10**12)
    await store.written()

    await value_of(store, KEY, now + 10**11)
    await store.close()

    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT count(*), sum(size) FROM answers").fetchall()
    used = connection.execute("SELECT bytes FROM used").fetchall()
    connection.close()
    assert rows[0][0] == 1
    assert used[0][0] == rows[0][1]


async def test_a_locked_file_blocks_nobody_and_the_batch_is_dropped_with_a_count(tmp_path: Path) -> None:
    path, now = tmp_path / "cache.db", ManualClock().wall_ns()
    store = SQLiteStore.open(path, max_bytes=1 << 20, write_busy_s=0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    await store.put(KEY, b"value", scope=SCOPE, expires_ns=now + 10**9)
    while_waiting = await value_of(store, KEY, now)
    await store.written()
    other.execute("ROLLBACK")
    other.close()
    afterwards = await value_of(store, KEY, now)
    await store.close()

    assert (while_waiting, afterwards, store.dropped) == (b"value", None, 1)
