"""What the semantic cache learns: from misses and hits that are graded, for entries, keys and domains."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from cache.deciding import Rule
from cache.finding import Finding, Pair, Ruling, SemanticRules
from cache.loaded import LoadedScopes
from cache.published import Domains, FeatureReport, Totals, semantic_report
from cache.rows import Nearby, SemanticStore
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
from cache.vectors.memory import MemoryIndex
from farthing.answer import StoredAnswer
from farthing.call import Call
from farthing.money import ZERO, Nano
from farthing.value import changed
from ledger.testing import ManualClock

SCOPE = b"s" * 32
ASKED = "What is the capital city of France?"
SAME = "What's the capital city of France?"
GREY = "What is the capital city of France in spring?"
ANSWER = example_answer()
RULES = SemanticRules(floor=0.5, max_wrong=0.05)


class Store(Protocol):
    """Where a cache keeps what it learns; a second `open` is that of another process."""

    def open(self, dimension: int) -> tuple[SemanticStore, Nearby]: ...

    def published(self) -> tuple[Totals, Domains]: ...


class Files:
    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, dimension: int) -> tuple[SemanticStore, Nearby]:
        rows = SQLiteSemanticRows.open(self.path)
        return rows, LoadedScopes(rows, MemoryIndex(), dimension=dimension)

    def published(self) -> tuple[Totals, Domains]:
        return read_published(self.path)


class Database:
    def __init__(self, url: str) -> None:
        self.url = url

    def open(self, dimension: int) -> tuple[SemanticStore, Nearby]:
        from cache.stores.pgvector import PgvectorRows
        from cache.vectors.pgvector import PgvectorNearby

        rows = PgvectorRows.open(self.url, ManualClock(), late_s=5)
        return rows, PgvectorNearby(rows.link)

    def published(self) -> tuple[Totals, Domains]:
        from cache.stores.pgvector import read_figures

        return read_figures(self.url)[:2]


class Bench:
    """A cache whose grader says what the test wants."""

    def __init__(self, store: Store, clock: ManualClock, after: int) -> None:
        self.store, self.clock = store, clock
        self.grader = FixedGrader()
        self.calibrations: list[FixedCalibration] = []
        embedder = WordEmbedder()

        def calibration(max_wrong: float, state: bytes | None) -> FixedCalibration:
            self.calibrations.append(FixedCalibration(max_wrong, state, after=after))
            return self.calibrations[-1]

        rows, nearby = store.open(embedder.dimension)
        self.cache = SemanticCache(
            rows,
            nearby,
            embedder,
            clock,
            learning=Learning(scorer=FixedScorer(), calibrations=calibration, grader=self.grader),
            deadline_s=5.0,
        )

    async def add(self, text: str, key: str = "key-1", answer: StoredAnswer = ANSWER) -> None:
        await self.cache.add(_call(text, key), SCOPE, answer, ttl_s=600)

    async def find(self, text: str, key: str = "key-1") -> Finding:
        return await self.cache.find(_call(text, key), SCOPE, RULES)

    async def miss(self, text: str, key: str = "key-1", *, same: bool | None, **options: Any) -> None:
        """A lookup without a hit, whose fresh answer is graded, and not kept."""
        found = await self.find(text, key)
        assert found.hit is None
        assert found.near is not None
        self.grader.verdict = same
        await self.cache.add(_call(text, key), SCOPE, ANSWER, **{"ttl_s": 0, "near": found.near, **options})

    async def shadow(self, text: str, key: str = "key-1", *, same: bool, share: float = 1.0) -> None:
        """A hit that is asked anew."""
        found = await self.find(text, key)
        assert found.hit is not None
        assert found.near is not None
        self.grader.verdict = same
        await self.cache.grade_hit(replace(found.near, share=share), ANSWER, cost=Nano(7))

    async def report(self) -> FeatureReport:
        await self.cache.flush()
        (report,) = semantic_report(*self.store.published())
        return report


def _call(text: str, key: str = "key-1") -> Call:
    call = example_call(example_question(text))
    return changed(call, tags=changed(call.tags, key_id=key))


@asynccontextmanager
async def _opened(store: Store, clock: ManualClock | None = None, *, after: int = 10) -> AsyncIterator[Bench]:
    bench = Bench(store, clock or ManualClock(), after)
    yield bench
    await bench.cache.close()


@pytest.fixture(params=["files", "database"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "files":
        return Files(tmp_path / "semantic.db")
    return Database(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def bench(store: Store) -> AsyncIterator[Bench]:
    async with _opened(store) as made:
        yield made


async def test_without_evidence_only_what_is_certain_is_served_and_it_says_so(bench: Bench) -> None:
    await bench.add(ASKED)

    sure, grey = await bench.find(SAME), await bench.find(GREY)

    assert sure.hit is not None
    assert sure.near is not None
    assert sure.near.rule is Rule.CONSERVATIVE
    assert sure.near.share == 1.0
    assert grey.hit is None
    report = await bench.report()
    assert (report.requests, report.hits, report.conservative_hits) == (2, 1, 1)


async def test_a_miss_with_a_near_candidate_is_graded_once_its_fresh_answer_is_there(bench: Bench) -> None:
    await bench.add(ASKED)

    await bench.miss(GREY, same=False)

    assert bench.grader.asked == [(ASKED, "Paris.", GREY, "Paris.")]
    ((_, score, same, weight),) = bench.calibrations[0].labels
    assert 0.8 < score < 0.95
    assert (same, weight) == (False, 1.0)
    report = await bench.report()
    assert (report.graded_misses, report.graded, report.evicted) == (1, 0, 0)


async def test_a_pair_that_cannot_be_decided_teaches_nothing(bench: Bench) -> None:
    await bench.add(ASKED)

    await bench.miss(GREY, same=None)

    assert bench.calibrations[0].labels == []
    assert (await bench.report()).undecided == 1


async def test_with_evidence_the_calibrated_threshold_decides(store: Store) -> None:
    async with _opened(store, after=1) as bench:
        await bench.add(ASKED)
        await bench.miss(GREY, same=True)

        found = await bench.find(SAME)

        assert found.near is not None
        assert found.near.rule is Rule.CALIBRATED
        assert bench.calibrations[0].requests[-1] == pytest.approx(1.0)


async def test_a_fresh_answer_that_says_the_same_is_kept_as_one_of_a_group(bench: Bench) -> None:
    await bench.add(ASKED)

    await bench.miss(GREY, same=True, ttl_s=600)

    ((kept, entry),) = bench.calibrations[0].joined
    assert kept > entry
    assert (await bench.find(GREY)).hit is not None


async def test_an_entry_serves_its_writer_alone_until_a_second_key_got_the_same_answer(bench: Bench) -> None:
    await bench.add(ASKED, "writer")

    assert (await bench.find(SAME, "writer")).hit is not None
    await bench.miss(SAME, "second", same=True)

    assert (await bench.find(SAME, "third")).hit is not None
    assert (await bench.report()).admitted == 1


async def test_the_writer_cannot_admit_its_own_entry(bench: Bench) -> None:
    await bench.add(ASKED, "writer")

    await bench.shadow(SAME, "writer", same=True)

    assert (await bench.find(SAME, "other")).hit is None


async def test_a_grey_pair_admits_nothing(bench: Bench) -> None:
    await bench.add(ASKED, "writer")

    await bench.miss(GREY, "second", same=True)

    assert (await bench.find(SAME, "second")).hit is None


async def test_another_keys_answer_to_the_same_words_stays_in_place(bench: Bench) -> None:
    await bench.add(ASKED, "writer")
    await bench.add(ASKED, "other", example_answer(example_body("Lyon.")))

    mine, others = await bench.find(SAME, "writer"), await bench.find(SAME, "other")

    assert mine.hit is not None
    assert others.hit is not None
    assert (mine.hit.answer == ANSWER, others.hit.answer == ANSWER) == (True, False)


async def test_one_wrong_answer_takes_an_entry_away(bench: Bench) -> None:
    await bench.add(ASKED)

    await bench.shadow(SAME, same=False)

    assert (await bench.find(SAME)).hit is None
    report = await bench.report()
    assert (report.graded, report.wrong, report.evicted) == (1, 1, 1)


async def test_a_wrong_grade_takes_away_what_was_not_admitted_yet(bench: Bench) -> None:
    await bench.add(ASKED, "writer")

    await bench.miss(SAME, "second", same=False)

    assert (await bench.find(SAME, "writer")).hit is None


async def test_a_domain_whose_hits_are_wrong_is_stopped_and_goes_on_when_they_would_be_right(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await bench.add(ASKED)
        await bench.shadow(SAME, same=False)
    await bench.add(ASKED)
    assert (await bench.report()).stopped == 1
    assert "is stopped" in caplog.text

    for _ in range(50):
        await bench.miss(SAME, same=True)

    assert (await bench.find(SAME)).hit is not None
    assert (await bench.report()).stopped == 0
    assert "goes on" in caplog.text


async def test_the_published_estimate_weighs_sampled_hits_and_counts_what_proof_costs(bench: Bench) -> None:
    await bench.add(ASKED)
    for _ in range(3):
        await bench.shadow(SAME, same=True, share=0.5)
    await bench.shadow(SAME, same=False, share=1.0)

    report = await bench.report()

    assert (report.graded, report.wrong) == (4, 1)
    assert report.wrong_per_hit.estimate == pytest.approx(1 / 7)
    assert report.wrong_per_hit.low < 1 / 7 < report.wrong_per_hit.high
    assert report.wrong_per_request == report.wrong_per_hit  # every request was a hit
    assert (report.saved, report.shadow_cost) == (4 * ANSWER.cost, 28)
    assert report.net_saved == 4 * ANSWER.cost - 28


async def test_where_too_little_can_be_compared_the_conservative_rule_stays(store: Store) -> None:
    async with _opened(store, after=1) as bench:
        await bench.add(ASKED)
        await bench.miss(GREY, same=True)
        for _ in range(20):
            found = await bench.find(SAME)
            assert found.near is not None
            bench.grader.verdict = None
            await bench.cache.grade_hit(found.near, ANSWER, cost=ZERO)

        found = await bench.find(SAME)

        assert found.near is not None
        assert found.near.rule is Rule.CONSERVATIVE
        assert (await bench.report()).undecided_hits == 20


async def test_a_referee_decides_what_the_grader_leaves_open_and_its_cost_is_counted(bench: Bench) -> None:
    shown: list[Pair] = []

    async def referee(pair: Pair) -> Ruling:
        shown.append(pair)
        return Ruling(False, Nano(5))

    await bench.add(ASKED)

    await bench.miss(GREY, same=None, referee=referee)

    assert [(pair.question_a, pair.question_b) for pair in shown] == [(ASKED, GREY)]
    report = await bench.report()
    assert (report.graded_misses, report.undecided, report.judge_cost) == (1, 0, 5)


async def test_what_was_learned_survives_a_restart_and_is_learned_once(store: Store) -> None:
    clock = ManualClock()
    async with _opened(store, clock) as before:
        await before.add(ASKED)
        for same in (True, False, True):
            await before.miss(GREY, same=same)

    async with _opened(store, clock) as after:
        await after.find(SAME)

        assert [label[2] for label in after.calibrations[0].labels] == [True, False, True]


async def test_a_state_that_cannot_be_read_is_learned_anew_from_the_samples(store: Store) -> None:
    clock = ManualClock()
    async with _opened(store, clock) as before:
        await before.add(ASKED)
        await before.miss(GREY, same=False)
    rows, _ = store.open(0)
    domain = "acme\0search\0\0words-1|fixed-1"
    saved = rows.load(domain)
    assert saved is not None
    rows.save(domain, type(saved)(**{**_fields(saved), "state": b"another version"}))
    rows.close()

    async with _opened(store, clock) as after:
        await after.find(SAME)

        assert [label[2] for label in after.calibrations[-1].labels] == [False]


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


async def test_another_process_learns_from_the_same_samples(store: Store) -> None:
    clock = ManualClock()
    async with _opened(store, clock) as here, _opened(store, clock) as there:
        await here.add(ASKED)
        await there.find(GREY)
        await here.miss(GREY, same=False)
        clock.advance(10)

        await there.find(GREY)

        assert [label[2] for label in there.calibrations[0].labels] == [False]


async def test_an_answer_without_words_is_not_graded(bench: Bench) -> None:
    await bench.add(ASKED)
    found = await bench.find(GREY)
    assert found.near is not None

    await bench.cache.grade_hit(found.near, example_answer(example_body(None)), cost=ZERO)

    assert bench.grader.asked == []
    assert (await bench.report()).undecided == 1


async def test_gibberish_behind_a_question_does_not_make_it_another(bench: Bench) -> None:
    await bench.add("What is the capital city of France? zxqv blorp wug")

    assert (await bench.find(ASKED)).hit is None
