"""The file of eval results."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from evals.evalfile import HERE
from evals.gate import Evidence
from evals.report import EvalReport, ItemOutcome, Role, TierResult
from evals.scorecards import ScorecardStore
from farthing.money import Nano
from farthing.routing import Demotion, Scorecard, Verdict

OUTCOMES = tuple(
    ItemOutcome(
        item_hash=f"i{number}",
        tier="tiny",
        score=score,
        reason="" if score else "equals does not hold",
        model="m-1",
        cost=Nano(1_500),
        seconds=0.25,
        finish_reason="stop",
        cache="miss",
        output_sha256="f" * 64,
        error="timeout" if score is None else "",
        fingerprint="fp",
        made_ns=5,
    )
    for number, score in enumerate([1.0, 0.0, None])
)


def report(run_id: str, verdict: Verdict, decided_ns: int, task: str = "sentiment") -> EvalReport:
    found = Evidence(
        verdict=verdict,
        reason="why",
        items=2,
        e_value=21.5,
        e_needed=20.0,
        e_fail=0.1,
        is_hopeless=False,
        score=0.5,
        low=0.1,
        high=0.9,
        difference=-0.01,
    )
    tiny = TierResult(
        tier="tiny",
        role=Role.CANDIDATE,
        models=("local/b", "local/a"),
        verdict=verdict,
        reason="why",
        evidence=found,
        planned=3,
        outcomes=OUTCOMES,
        valid_until_ns=10**18,
    )
    return EvalReport(
        run_id=run_id,
        suite="s",
        suite_hash="h",
        task=task,
        bar=0.85,
        margin=0.03,
        reference="large",
        rule="r",
        prompt_hash="p",
        grader="g",
        tiers=(tiny,),
        started_ns=1,
        decided_ns=decided_ns,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ScorecardStore]:
    with ScorecardStore(tmp_path / "new" / "evals.db") as opened:
        yield opened


def test_a_run_comes_back_as_its_card_and_its_items(store: ScorecardStore) -> None:
    run = report("r1", Verdict.PASS, 10)

    store.add_run(run)

    (card,) = store.latest()
    assert (card,) == run.scorecards()
    assert (card.e_value, card.margin, card.difference, card.cost) == (21.5, 0.03, -0.01, 4_500)
    assert (card.fingerprints, card.grader, card.prompt_hash, card.reason) == (("fp",), "g", "p", "why")
    assert store.latest("sentiment") == run.scorecards()
    assert store.latest("other") == ()
    assert store.items("r1") == OUTCOMES
    assert store.items("r2") == ()


def test_the_newest_decided_card_of_each_task_and_tier_counts(store: ScorecardStore) -> None:
    for run in (
        report("r2", Verdict.FAIL, 20),
        report("r1", Verdict.PASS, 10),
        report("r3", Verdict.PASS, 5, "other"),
    ):
        store.add_run(run)

    assert [(card.task, card.run_id) for card in store.latest()] == [("other", "r3"), ("sentiment", "r2")]


def test_an_undecided_run_keeps_what_was_decided_before(store: ScorecardStore) -> None:
    store.add_run(report("r1", Verdict.UNDECIDED, 1))
    undecided_only = store.latest()

    store.add_run(report("r2", Verdict.PASS, 10))
    store.add_run(report("r3", Verdict.UNDECIDED, 20))

    assert [card.run_id for card in undecided_only] == ["r1"]
    assert [card.run_id for card in store.latest()] == ["r2"]


def test_the_version_rises_with_every_card_and_other_openers_see_it(store: ScorecardStore, tmp_path: Path) -> None:
    before = store.version()

    with ScorecardStore(tmp_path / "new" / "evals.db") as other:
        other.add_run(report("r1", Verdict.PASS, 10))
        first = store.version()
        other.add_run(report("r2", Verdict.PASS, 20))

    assert before == 0
    assert before < first < store.version()
    assert len(store.latest()) == 1


def test_a_run_id_is_taken_once_and_a_refused_run_leaves_nothing(store: ScorecardStore) -> None:
    store.add_run(report("r1", Verdict.PASS, 10))

    with pytest.raises(sqlite3.IntegrityError):
        store.add_run(report("r1", Verdict.FAIL, 20))

    assert store.version() == 1
    assert store.latest()[0].verdict is Verdict.PASS


def test_a_card_without_a_run_can_be_kept(store: ScorecardStore) -> None:
    card = Scorecard(
        task="t",
        tier="small",
        verdict=Verdict.PASS,
        score=0.9,
        bar=0.8,
        items=40,
        suite="s",
        suite_hash="h",
        models=("p/m",),
        run_id="r",
        decided_ns=1,
    )

    store.add(card)
    store.add(replace(card, tier="tiny"))

    assert store.latest() == (card, replace(card, tier="tiny"))


def test_a_file_of_a_newer_farthing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evals.db"
    ScorecardStore(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(sqlite3.DatabaseError, match="update Farthing"):
        ScorecardStore(path)


def test_a_store_opens_while_another_process_begins_it(tmp_path: Path) -> None:
    path = tmp_path / "evals.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE of_another (a)")
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.05, other.close).start()

    ScorecardStore(path).close()

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


DEMOTION = Demotion(
    task="sentiment",
    tier="tiny",
    at_ns=10,
    until_ns=100,
    cause="drift",
    detail="answers got worse",
    suite_hash="h",
    models=("local/a",),
)


def test_the_newest_demotion_of_each_task_and_tier_counts_and_raises_the_version(store: ScorecardStore) -> None:
    before = store.version()

    store.demote(replace(DEMOTION, at_ns=20, detail="and worse"))
    store.demote(DEMOTION)
    store.demote(replace(DEMOTION, task="other"))

    assert store.version() == before + 3
    assert store.demotions("sentiment") == (replace(DEMOTION, at_ns=20, detail="and worse"),)
    assert [demotion.task for demotion in store.demotions()] == ["other", "sentiment"]


def test_a_demotion_and_the_run_that_it_asks_for_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "both.db"
    with ScorecardStore(path) as store:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON queue BEGIN SELECT RAISE(ABORT, 'full'); END")
            other.commit()

            with pytest.raises(sqlite3.IntegrityError, match="full"):
                store.demote(DEMOTION, asks=True)
            refused = store.demotions()
            other.execute("DROP TRIGGER full")
            other.commit()
        store.demote(DEMOTION, asks=True)

        assert refused == ()
        assert [one.reason for one in store.queue()] == ["answers got worse"]


def test_a_demotion_comes_after_a_card_that_was_decided_while_the_clock_was_ahead(store: ScorecardStore) -> None:
    card = Scorecard(
        task="sentiment",
        tier="tiny",
        verdict=Verdict.PASS,
        score=0.9,
        bar=0.8,
        items=40,
        suite="s",
        suite_hash="h",
        models=("local/a",),
        run_id="ahead",
        decided_ns=1_000,
    )
    store.add(card)

    store.demote(replace(DEMOTION, until_ns=10))

    (kept,) = store.demotions()
    assert (kept.at_ns, kept.until_ns) == (1_001, 1_001)


def test_a_run_is_asked_for_once_until_it_is_done(store: ScorecardStore) -> None:
    store.enqueue("sentiment", "tiny", reason="drift", asked_ns=1)
    store.enqueue("sentiment", "tiny", reason="again", asked_ns=2)
    store.enqueue("sentiment", "small", reason="drift", asked_ns=3)
    asked = store.queue()

    store.dequeue("sentiment", "tiny", done_ns=4)
    left = store.queue()
    store.enqueue("sentiment", "tiny", reason="later", asked_ns=5)

    assert [(one.tier, one.reason, one.asked_ns) for one in asked] == [("tiny", "drift", 1), ("small", "drift", 3)]
    assert [one.tier for one in left] == ["small"]
    assert [one.reason for one in store.queue()] == ["drift", "later"]


def test_results_of_an_earlier_farthing_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "evals.db"
    first = (HERE / "migrations" / "0001_evals.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as database:
        database.executescript(first)
        database.execute("INSERT INTO runs VALUES ('r', 's', 'h', 't', 0.85, 'point-estimate/1', 1, 5, NULL, 7, '')")
        database.execute(
            "INSERT INTO scorecards VALUES"
            " (1, 'r', 't', 'tiny', 'candidate', 'pass', 'why', 0.9, 0.8, 1, 0.85, 40, 40, 7, 's', 'h', '[]', 5, NULL)"
        )
        database.execute("PRAGMA user_version = 1")
        database.commit()

    with ScorecardStore(path) as store:
        (card,) = store.latest()

    assert (card.task, card.tier, card.verdict, card.score, card.items) == ("t", "tiny", Verdict.PASS, 0.9, 40)
    assert (card.low, card.cost, card.reason, card.rule, card.margin) == (0.8, 7, "why", "point-estimate/1", None)
