"""The semantic cache: near, alive, unvetoed and in time; otherwise a miss."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cache.deciding import Scorer, UncertainScorer
from cache.embedders.pooled import PooledEmbedder
from cache.finding import SemanticRules
from cache.loaded import LoadedScopes
from cache.published import semantic_report
from cache.semantic import Learning, SemanticCache
from cache.stores.semantic import SQLiteSemanticRows, read_published
from cache.testing import (
    FixedCalibration,
    FixedGrader,
    FixedScorer,
    WordEmbedder,
    example_answer,
    example_body,
    example_call,
    example_question,
)
from cache.vectors.faiss import FaissIndex
from cache.vectors.memory import MemoryIndex
from farthing.answer import Hit, StoredAnswer
from farthing.call import CacheControl, Call
from farthing.record import CacheOutcome
from farthing.value import changed
from ledger.testing import ManualClock

A, B = b"a" * 32, b"b" * 32
ASKED = "What is the capital city of France?"
SAME = "What's the capital city of France?"
UNLIKE = "How do I bake bread at home?"
ANSWER = example_answer()
RULES = SemanticRules(floor=0.5, max_wrong=0.05)


@dataclass
class Bench:
    """A cache over a file, with its clock and embedder."""

    cache: SemanticCache
    clock: ManualClock
    embedder: WordEmbedder

    async def add(self, text: str, scope: bytes = A, answer: StoredAnswer = ANSWER, ttl_s: int = 600) -> None:
        await self.cache.add(_call(text), scope, answer, ttl_s=ttl_s)

    async def find(self, text: str, scope: bytes = A, **options: Any) -> Hit | None:
        return (await self.cache.find(_call(text), scope, RULES, **options)).hit


def _call(text: str, **changes: Any) -> Call:
    return example_call(example_question(text), **changes)


@asynccontextmanager
async def _bench(
    path: Path,
    clock: ManualClock | None = None,
    *,
    faiss: bool = False,
    max_vectors: int = 100,
    scorer: Scorer | None = None,
    embedder: Any = None,
    **limits: Any,
) -> AsyncIterator[Bench]:
    clock, embedder = clock or ManualClock(), embedder or WordEmbedder()
    index = FaissIndex(embedder.dimension) if faiss else MemoryIndex()
    rows = SQLiteSemanticRows.open(path / "semantic.db")
    learning = Learning(scorer=scorer or FixedScorer(), calibrations=FixedCalibration, grader=FixedGrader())
    loaded = LoadedScopes(rows, index, dimension=embedder.dimension, max_vectors=max_vectors)
    cache = SemanticCache(rows, loaded, embedder, clock, learning=learning, **{"deadline_s": 5.0, **limits})
    yield Bench(cache, clock, embedder)
    await cache.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with _bench(tmp_path) as made:
        yield made


@pytest.mark.parametrize("faiss", [False, True])
async def test_a_paraphrase_is_answered_and_tells_its_score(tmp_path: Path, faiss: bool) -> None:
    async with _bench(tmp_path, faiss=faiss) as bench:
        await bench.add(ASKED)
        await bench.add(UNLIKE, answer=example_answer(example_body("With flour.")))

        hit = await bench.find(SAME)

        assert hit is not None
        assert (hit.kind, hit.answer) == (CacheOutcome.SEMANTIC, ANSWER)
        assert hit.score == pytest.approx(1.0, abs=1e-5)
        assert (bench.cache.counts.hits, bench.cache.counts.stored) == (1, 2)


async def test_another_scope_is_another_world(bench: Bench) -> None:
    await bench.add(ASKED, scope=A)

    assert await bench.find(ASKED, scope=B) is None
    assert await bench.find(ASKED, scope=A) is not None


async def test_what_is_not_near_enough_is_a_miss(bench: Bench) -> None:
    await bench.add(ASKED)

    assert await bench.find(UNLIKE) is None
    assert bench.cache.counts.below == 1


async def test_a_guard_keeps_apart_what_lies_near(bench: Bench) -> None:
    await bench.add("Is a cat bigger than a dog?")

    assert await bench.find("Is a dog bigger than a cat?") is None
    assert bench.cache.counts.vetoes == {"swap": 1}


async def test_a_vetoed_neighbour_does_not_hide_the_next_one(bench: Bench) -> None:
    right = example_answer(example_body("No."))
    await bench.add("Is a dog bigger than a cat?", answer=right)
    await bench.add("Is a cat bigger than a dog?")

    hit = await bench.find("is a dog bigger than the cat?")

    assert hit is not None
    assert hit.answer == right


async def test_an_answer_dies_with_its_ttl_and_its_words_leave_the_file(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        await bench.add(ASKED, ttl_s=60)
        bench.clock.advance(60)

        assert await bench.find(ASKED) is None

    connection = sqlite3.connect(tmp_path / "semantic.db")
    rows = connection.execute("SELECT count(*) FROM questions").fetchall()
    connection.close()
    assert rows == [(0,)]


async def test_a_caller_may_refuse_answers_that_are_too_old_for_him(bench: Bench) -> None:
    await bench.add(ASKED)
    bench.clock.advance(30)

    assert await bench.find(ASKED, max_age_s=29) is None
    assert await bench.find(ASKED, max_age_s=30) is not None


async def test_an_ineligible_call_is_neither_answered_nor_kept(bench: Bench) -> None:
    await bench.add("What is the weather in Paris today?")

    assert await bench.find("What is the weather in Paris today?") is None
    assert bench.embedder.texts == []
    assert bench.cache.counts.ineligible == {"time": 2}


async def test_a_caller_who_forbids_storing_leaves_nothing_behind(bench: Bench) -> None:
    await bench.cache.add(_call(ASKED, cache_control=CacheControl(no_store=True)), A, ANSWER, ttl_s=60)

    assert await bench.find(ASKED) is None


async def test_the_vector_of_a_miss_is_used_again_when_its_answer_is_kept(bench: Bench) -> None:
    await bench.find(ASKED)
    await bench.add(ASKED)

    assert bench.embedder.texts == [ASKED]


async def test_the_same_question_again_replaces_its_older_answer(tmp_path: Path) -> None:
    async with _bench(tmp_path) as bench:
        newer = example_answer(example_body("Paris!"))
        await bench.add(ASKED)
        await bench.add(ASKED, answer=newer)

        hit = await bench.find(ASKED)

        assert hit is not None
        assert hit.answer == newer
    connection = sqlite3.connect(tmp_path / "semantic.db")
    assert connection.execute("SELECT count(*) FROM questions").fetchall() == [(1,)]
    connection.close()


async def test_another_process_finds_what_this_one_added_later_too(tmp_path: Path) -> None:
    clock = ManualClock()
    async with _bench(tmp_path, clock) as here, _bench(tmp_path, clock) as there:
        await here.add(ASKED)
        first = await there.find(SAME)
        await here.add(UNLIKE)
        second = await there.find(UNLIKE)

    assert first is not None
    assert second is not None


async def test_what_another_process_deleted_is_served_no_more(tmp_path: Path) -> None:
    clock = ManualClock()
    async with _bench(tmp_path, clock) as here, _bench(tmp_path, clock) as there:
        await here.add(ASKED)
        assert await there.find(ASKED) is not None
        connection = sqlite3.connect(tmp_path / "semantic.db")
        with connection:
            connection.execute("DELETE FROM questions")
        connection.close()

        assert await there.find(ASKED) is None
        assert await here.find(ASKED) is None


async def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with _bench(tmp_path, clock) as before:
        await before.add(ASKED)

    async with _bench(tmp_path, clock) as after:
        assert await after.find(SAME) is not None


@pytest.mark.parametrize("column", ["answer", "vector"])
async def test_a_damaged_row_is_a_miss(tmp_path: Path, column: str) -> None:
    clock = ManualClock()
    async with _bench(tmp_path, clock) as before:
        await before.add(ASKED)
    connection = sqlite3.connect(tmp_path / "semantic.db")
    with connection:
        connection.execute(f"UPDATE questions SET {column} = x'0102'")
    connection.close()

    async with _bench(tmp_path, clock) as after:
        assert await after.find(ASKED) is None
        assert after.cache.counts.errors == 0


async def test_a_row_moved_into_another_scope_is_not_served_there(tmp_path: Path) -> None:
    clock = ManualClock()
    async with _bench(tmp_path, clock) as before:
        await before.add(ASKED, scope=A)
    connection = sqlite3.connect(tmp_path / "semantic.db")
    with connection:
        connection.execute("UPDATE questions SET scope = ?", (B,))
    connection.close()

    async with _bench(tmp_path, clock) as after:
        assert await after.find(ASKED, scope=B) is None


async def test_a_broken_embedder_makes_misses_and_never_raises(bench: Bench) -> None:
    await bench.add(UNLIKE)
    bench.embedder.broken = True

    await bench.add(ASKED)

    assert await bench.find(ASKED) is None
    assert bench.cache.counts.errors == 2


async def test_an_embedder_that_takes_too_long_makes_a_miss(tmp_path: Path) -> None:
    async with _bench(tmp_path, deadline_s=0.05) as bench:
        await bench.add(UNLIKE)
        bench.embedder.stuck = True

        assert await bench.find(ASKED) is None
        assert bench.cache.counts.late == 1


async def test_a_scope_keeps_its_newest_entries(tmp_path: Path) -> None:
    async with _bench(tmp_path, max_entries=10) as bench:
        words = ["ash", "beech", "birch", "cedar", "elm", "fir", "hazel", "holly", "larch", "lime", "maple", "oak"]
        for word in words:
            await bench.add(f"What is the wood of {word} used for?")

        found = [await bench.find(f"What is the wood of {word} used for?") is not None for word in words]

    assert 8 <= sum(found) <= 10
    assert found == sorted(found)
    assert found[-1]


async def test_scopes_beyond_the_cap_leave_memory_and_come_back(tmp_path: Path) -> None:
    async with _bench(tmp_path, max_vectors=2) as bench:
        scopes = [bytes([at]) * 32 for at in range(5)]
        for scope in scopes:
            await bench.add(ASKED, scope=scope)

        found = [await bench.find(SAME, scope=scope) for scope in scopes]

    assert None not in found


async def test_the_answer_is_given_back_whole(bench: Bench) -> None:
    answer = changed(ANSWER, tier="large", provider="p" * 50, stored_ns=bench.clock.wall_ns())
    await bench.add(ASKED, answer=answer)

    hit = await bench.find(SAME)

    assert hit is not None
    assert hit.answer == answer


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        ("What does it cost in France?", {"before": True}, "anaphora"),
        ("And what about Spain?", {}, "anaphora"),
        ("What is the weather in Paris today?", {}, "time"),
        ("Who is the current president of France?", {}, "time"),
        ("My name is Ada, where is my order?", {}, "personal"),
        ("What is the state of order AB-123456?", {}, "personal"),
        (ASKED, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        (ASKED, {"response_format": {"type": "json_object"}}, "structured"),
        (ASKED, {"seed": 3}, "sampling"),
        (ASKED, {"temperature": 0.9}, "temperature"),
        ("Write me a poem about France.", {}, "creative"),
    ],
)
async def test_a_class_that_is_never_served_is_not_even_embedded(
    bench: Bench, text: str, more: dict[str, Any], reason: str
) -> None:
    body = example_question(text)
    if more.pop("before", False):
        body["messages"] = [
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Yes?"},
            *body["messages"],
        ]
    call = example_call({**body, **more})

    await bench.cache.add(call, A, ANSWER, ttl_s=600)
    found = await bench.cache.find(call, A, RULES)

    assert (found.hit, found.near) == (None, None)
    assert bench.embedder.texts == []
    assert bench.cache.counts.ineligible == {reason: 2}


async def test_a_full_queue_of_the_embedder_is_a_miss_and_no_failure(bench: Bench) -> None:
    await bench.add(UNLIKE)
    bench.embedder.busy = True

    assert await bench.find(ASKED) is None
    assert (bench.cache.counts.busy, bench.cache.counts.errors) == (1, 0)


async def test_without_anybody_to_embed_a_lookup_is_a_miss_and_no_failure(bench: Bench) -> None:
    await bench.add(UNLIKE)
    bench.embedder.away = True

    await bench.add(ASKED)

    assert await bench.find(ASKED) is None
    assert (bench.cache.counts.away, bench.cache.counts.errors) == (2, 0)


async def test_what_was_not_looked_up_or_kept_is_published_with_its_reason(tmp_path: Path) -> None:
    async with _bench(tmp_path, deadline_s=0.05) as bench:
        await bench.add(UNLIKE)
        for trouble in ("busy", "away", "broken", "stuck"):
            setattr(bench.embedder, trouble, True)
            await bench.find(ASKED)
            if trouble != "stuck":
                await bench.add(ASKED)
            setattr(bench.embedder, trouble, False)
        await bench.cache.flush()

        (report,) = semantic_report(*read_published(tmp_path / "semantic.db"))

    assert {name: times for name, times in report.skipped.items() if times} == {
        ("lookup", "busy"): 1,
        ("lookup", "away"): 1,
        ("lookup", "failed"): 1,
        ("lookup", "late"): 1,
        ("keeping", "busy"): 1,
        ("keeping", "away"): 1,
        ("keeping", "failed"): 1,
    }
    assert report.requests == 0


async def test_what_embedding_costs_is_told_by_feature_and_taken_from_the_saving(bench: Bench, tmp_path: Path) -> None:
    bench.embedder.price = 700
    await bench.add(ASKED)
    await bench.find(SAME)
    await bench.find(SAME)
    await bench.cache.flush()

    (report,) = semantic_report(*read_published(tmp_path / "semantic.db"))

    assert (report.feature, report.embedding_cost) == ("search", 1400)  # two texts, each once
    assert report.net_saved == 2 * ANSWER.cost - 1400


async def test_a_text_that_another_tenant_has_asked_is_embedded_anew(bench: Bench) -> None:
    await bench.cache.add(_call(ASKED, tenant="acme"), A, ANSWER, ttl_s=60)
    await bench.cache.add(_call(ASKED, tenant="globex"), B, ANSWER, ttl_s=60)

    assert bench.embedder.texts == [ASKED, ASKED]


async def test_an_embedder_that_nobody_measured_serves_nothing_before_there_is_evidence(tmp_path: Path) -> None:
    async with _bench(tmp_path, scorer=UncertainScorer(FixedScorer())) as bench:
        await bench.add(ASKED)

        before = await bench.find(SAME)
        for _ in range(10):
            near = (await bench.cache.find(_call(SAME), A, RULES)).near
            assert near is not None
            await bench.cache.add(_call(SAME), A, ANSWER, ttl_s=0, near=near)
        after = await bench.find(SAME)

    assert before is None
    assert after is not None


async def test_what_another_embedder_has_made_is_compared_with_nothing(tmp_path: Path) -> None:
    async with _bench(tmp_path) as before:
        await before.add(ASKED)
    shorter = WordEmbedder()
    shorter.dimension, shorter.version = 32, "words-2"

    async with _bench(tmp_path, embedder=shorter) as after:
        # The scope holds the version of the embedder; should that ever fail, the length of the vectors does.
        assert await after.find(ASKED) is None
        assert (after.cache.counts.empty, after.cache.counts.errors) == (1, 0)


class GatedModel:
    """A model that embeds only while its gate is open."""

    dimension = 2
    version = "gated-1"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def embed_sync(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.gate.wait(10)
        return np.array([[1, 0]] * len(texts), dtype=np.float32)


async def test_a_lookup_waits_for_a_slow_model_no_longer_than_its_deadline(tmp_path: Path) -> None:
    model = GatedModel()
    pool = PooledEmbedder(model)
    async with _bench(tmp_path, embedder=pool, deadline_s=0.05) as bench:
        await bench.add(UNLIKE)
        model.gate.clear()
        found = await bench.find(ASKED)
        model.gate.set()  # only now, so the lookup has not waited for it
        await pool.aclose()

    assert found is None
    assert bench.cache.counts.late == 1


async def test_a_lookup_behind_a_full_queue_does_not_wait_at_all(tmp_path: Path) -> None:
    model = GatedModel()
    pool = PooledEmbedder(model, max_queue=1)
    async with _bench(tmp_path, embedder=pool, deadline_s=30.0) as bench, asyncio.TaskGroup() as group:
        await bench.add(UNLIKE)
        model.gate.clear()
        group.create_task(pool.embed(["is embedded"]))
        group.create_task(pool.embed(["waits"]))
        await asyncio.sleep(0)
        found = await bench.find(ASKED)  # comes back although the model does not, and long before the deadline
        model.gate.set()

    await pool.aclose()
    assert found is None
    assert bench.cache.counts.busy == 1


async def test_an_embedder_whose_vectors_have_another_length_is_named_and_makes_misses(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.add(ASKED)
    bench.embedder.halved = True

    assert await bench.find(UNLIKE) is None

    assert bench.cache.counts.errors == 1
    assert "the embedder words-1 gave a vector of 32 numbers in place of 64" in caplog.text


async def test_nothing_is_embedded_to_look_among_nothing(bench: Bench) -> None:
    found = await bench.cache.find(_call(ASKED), A, RULES)

    assert (found.hit, found.near) == (None, None)
    assert bench.embedder.texts == []
    assert bench.cache.counts.empty == 1


async def test_a_lookup_among_nothing_is_a_request_that_found_nothing(bench: Bench, tmp_path: Path) -> None:
    await bench.find(ASKED)
    await bench.cache.flush()

    (report,) = semantic_report(*read_published(tmp_path / "semantic.db"))

    assert (report.requests, report.hits, sum(report.skipped.values())) == (1, 0, 0)


async def test_a_scope_that_another_process_has_filled_is_not_taken_for_empty(tmp_path: Path) -> None:
    clock = ManualClock()
    async with _bench(tmp_path, clock) as here, _bench(tmp_path, clock) as there:
        assert await there.find(ASKED) is None
        await here.add(ASKED)

        assert await there.find(ASKED) is not None
