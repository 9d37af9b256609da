"""Live grading over HTTP: a tier whose answers get worse, or whose model is another one, loses its task by itself."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from bench.mock_upstream import MockSettings, running_mock
from evals.scorecards import ScorecardStore
from farthing.record import Outcome, Record
from farthing.routing import Demotion, Scorecard, Verdict
from tests.gateway import RunningGateway, change, reached, running_gateway, until, write_tree
from tests.unit.test_alerts import webhook

TASK = "  triage: {bar: 0.8, reference: large, candidates: [small]}\n"
ROUTED = {"x-farthing-feature": "routed"}
SHADOW = "  farthing-shadow: {team: platform, cache: {exact: false}}\n"
BUDGET = '  - {{id: shadow, limit_usd: "{limit}", window: day, where: {{feature: farthing-shadow}}}}\n'
FEATURE = "  routed: {team: web, task: triage, override_model: true}\n"
PLAIN = "  routed: {team: web, task: triage, override_model: true, cache: {exact: false}}\n"
CARD = Scorecard(
    task="triage",
    tier="small",
    verdict=Verdict.PASS,
    score=0.95,
    difference=0.0,
    bar=0.8,
    items=200,
    suite="triage",
    suite_hash="h1",
    models=("mock/small-model",),
    run_id="run-1",
    decided_ns=1,
)

Gateway = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    @asynccontextmanager
    async def run(
        live: str = "share: 100%",
        *,
        limit: str = "1",
        card: Scorecard = CARD,
        policy: str = "cheapest_passing",
        extra: str = "",
    ) -> AsyncIterator[RunningGateway]:
        changes = (
            (TASK, watched(live)),
            (FEATURE, PLAIN.replace("task: triage", f"task: triage, policy: {policy}") + SHADOW),
            ("budgets:\n", "budgets:\n" + BUDGET.format(limit=limit)),
        )
        async with running_gateway(tmp_path, changes=changes, extra=extra) as running:
            await promote(running, card)
            yield running

    return run


def watched(live: str) -> str:
    """The task, with these live settings."""
    return TASK.replace("}\n", f", live: {{enabled: true, {live}}}}}\n")


async def promote(running: RunningGateway, card: Scorecard) -> None:
    """The card is on record and routes follow it."""
    with ScorecardStore(running.application.house.files.scorecards) as store:
        store.add(card)
    await running.application.house.tick()


async def settled(running: RunningGateway) -> None:
    """What was asked besides is graded, and what it comes to is acted upon."""
    house = running.application.house
    await house.runtime.caches.background.settle()
    await house.tick()
    await house.runtime.caches.background.settle()


def of(running: RunningGateway, feature: str) -> list[Record]:
    return [record for record in running.records() if record.tags.feature == feature]


def demotions(running: RunningGateway) -> tuple[Demotion, ...]:
    with ScorecardStore(running.application.house.files.scorecards) as store:
        return store.demotions("triage")


async def test_a_tier_whose_answers_turn_to_nonsense_is_demoted_and_the_reference_answers(gateway: Gateway) -> None:
    async with gateway() as running:
        good = [await running.chat(f"item {number}", headers=ROUTED) for number in range(5)]
        await settled(running)
        assert demotions(running) == ()

        running.mock.broken["small-model"] = "I like trains"
        asked = 0
        while not demotions(running):
            asked += 1
            bad = await running.chat(f"later item {asked}", headers=ROUTED)
            await settled(running)
        after = await running.chat("afterwards", headers=ROUTED)

        assert {one.headers["x-farthing-tier"] for one in (*good, bad)} == {"small"}
        assert asked <= 20
        (demotion,) = demotions(running)
        assert (demotion.tier, demotion.cause, demotion.suite_hash) == ("small", "drift", "h1")
        assert demotion.detail.startswith("live answers agree with large in less than 85% of the calls (evidence ")
        assert after.headers["x-farthing-tier"] == "large"
        assert after.headers["x-farthing-route"] == "reference: no tier below large has a valid pass for triage"
        record = running.record_of(after)
        assert (record.tier, record.model_served) == ("large", "large-model")
        assert await running.metric("farthing_drift_alarms_total", task="triage", tier="small", signal="grades") == 1
        assert await running.metric("farthing_drift_answers", task="triage", tier="small", signal="grades") == asked + 5


async def test_grades_are_paid_by_farthing_and_hold_nothing_of_the_answers(gateway: Gateway) -> None:
    async with gateway() as running:
        await running.chat("a secret of the client", headers=ROUTED)
        await settled(running)

        (shadow,) = of(running, "farthing-shadow")
        assert (shadow.outcome, shadow.tier, shadow.tags.task) == (Outcome.SUCCESS, "large", "live:routed")
        assert shadow.cost > 0
        kept = b"".join(path.read_bytes() for path in running.application.house.files.scorecards.parent.glob("evals*"))
        assert b"secret of the client" not in kept


async def test_a_spent_budget_stops_the_grading_and_no_call(gateway: Gateway) -> None:
    async with gateway(limit="0") as running:
        answers = [await running.chat(f"item {number}", headers=ROUTED) for number in range(3)]
        await settled(running)

        assert {answer.status_code for answer in answers} == {200}
        assert {record.outcome for record in of(running, "farthing-shadow")} == {Outcome.REFUSED}
        assert await running.metric("farthing_drift_answers", signal="grades") == 0
        assert await running.metric("farthing_drift_answers", signal="checks") == 3


async def test_streams_are_watched_like_plain_answers(gateway: Gateway) -> None:
    async with gateway() as running:
        running.mock.broken["small-model"] = "no"
        for number in range(2):
            await running.chat(f"item {number}", headers=ROUTED, stream=True)
        await settled(running)

        assert await running.metric("farthing_drift_answers", signal="grades") == 2
        assert await running.metric("farthing_drift_evidence", signal="grades") > 0


async def test_a_hit_of_a_cache_is_no_fresh_answer(gateway: Gateway) -> None:
    async with gateway() as running:
        answers = [
            await running.chat("the same", headers={"x-farthing-feature": "chat", "x-farthing-task": "triage"})
            for _ in range(3)
        ]
        await settled(running)

        assert [answer.headers["x-farthing-cache"] for answer in answers] == ["miss", "exact", "exact"]
        assert await running.metric("farthing_drift_answers", signal="checks") == 1


async def test_a_pinned_tier_says_nothing_of_the_tasks_traffic(gateway: Gateway) -> None:
    async with gateway() as running:
        await running.chat("x", headers={"x-farthing-task": "triage"}, model="tier/small")
        await settled(running)

        assert await running.metric("farthing_drift_answers") == 0


async def test_without_grading_empty_and_refused_answers_alone_raise_the_alarm(gateway: Gateway) -> None:
    async with gateway("grader: none") as running:
        running.mock.broken["small-model"] = "I'm sorry, but I can't help with that."
        asked = 0
        while not demotions(running):
            asked += 1
            await running.chat(f"item {asked}", headers=ROUTED)
            await running.application.house.tick()

        assert asked <= 30
        assert demotions(running)[0].detail.startswith("more than 20% of its live answers are empty, cut, refused")
        assert of(running, "farthing-shadow") == []


async def test_another_model_behind_the_same_name_takes_the_task_away(gateway: Gateway) -> None:
    card = replace(CARD, fingerprints=("small-model",))
    async with gateway("grader: none", card=card) as running:
        running.mock.behind["small-model"] = "small-model-2027"
        answers = [await running.chat(f"item {number}", headers=ROUTED) for number in range(3)]
        await running.application.house.tick()
        after = await running.chat("afterwards", headers=ROUTED)

        assert [answer.headers["x-farthing-tier"] for answer in (*answers, after)] == ["small"] * 3 + ["large"]
        (demotion,) = demotions(running)
        assert demotion.detail == "its provider answers with model small-model-2027 in place of small-model"
        assert (demotion.cause, demotion.until_ns) == ("fingerprint", demotion.at_ns)


async def test_usual_revisions_are_learned_where_the_card_knows_none(gateway: Gateway) -> None:
    async with gateway("grader: none") as running:
        for number in range(50):
            await running.chat(f"item {number}", headers=ROUTED)
        await running.application.house.tick()
        running.mock.behind["small-model"] = "small-model-2027"
        two = [await running.chat(f"late {number}", headers=ROUTED) for number in range(2)]
        await running.application.house.tick()
        early = demotions(running)
        await running.chat("third", headers=ROUTED)
        await running.application.house.tick()

        assert [answer.status_code for answer in two] == [200, 200]
        assert early == ()
        assert [demotion.cause for demotion in demotions(running)] == ["fingerprint"]


async def test_an_alarm_is_told_with_what_it_costs_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = MockSettings(duration_ms=0)
    async with webhook(200) as (url, bodies), running_mock(settings) as mock:
        config = write_tree(tmp_path, mock.base_url, extra='alerts: {webhook_url: "${HOOK}"}\n')
        change(config, (TASK, watched("grader: none")), (FEATURE, PLAIN))
        async with reached(config, mock, environment={"HOOK": url}) as running:
            await promote(running, CARD)
            mock.broken["small-model"] = ""
            with caplog.at_level(logging.WARNING, "farthing.live"):
                while not demotions(running):
                    await running.chat("x", headers=ROUTED)
                    await running.application.house.tick()
                await until(lambda: bool(bodies))
            with ScorecardStore(running.application.house.files.scorecards) as store:
                (asked,) = store.queue()

    (body,) = bodies
    assert (body["event"], body["task"], body["tier"], body["signal"]) == ("tier_demoted", "triage", "small", "checks")
    assert body["calls_last_24h"] == body["graded"]
    assert "farthing eval due" in body["todo"]
    assert (asked.task, asked.tier, asked.reason) == ("triage", "small", body["detail"])
    assert "demoted: its calls go one tier up" in caplog.text


async def test_workers_add_to_one_evidence_and_all_of_them_route_by_it(gateway: Gateway) -> None:
    async with gateway() as running, running.another_worker() as (other, port):
        running.mock.broken["small-model"] = "no"
        root = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=root, headers=running.client.headers, trust_env=False) as client:
            elsewhere = replace(running, client=client)
            asked = 0
            while not demotions(running):
                asked += 1
                await (running if asked % 2 else elsewhere).chat(f"item {asked}", headers=ROUTED)
                for application in (running.application, other):
                    await application.house.runtime.caches.background.settle()
                    await application.house.tick()
            for application in (running.application, other):
                await application.house.tick()
            here, there = await running.chat("x", headers=ROUTED), await elsewhere.chat("y", headers=ROUTED)

        assert asked <= 20
        assert [answer.headers["x-farthing-tier"] for answer in (here, there)] == ["large", "large"]


async def test_a_reference_that_breaks_is_told_once_and_goes_on_answering(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    failed = replace(CARD, verdict=Verdict.FAIL)
    async with gateway("grader: none", card=failed) as running:
        running.mock.broken["large-model"] = "I'm sorry, but I can't help with that."
        with caplog.at_level(logging.WARNING, "farthing.live"):
            for number in range(60):
                answer = await running.chat(f"item {number}", headers=ROUTED)
                await running.application.house.tick()

        assert answer.headers["x-farthing-tier"] == "large"
        assert demotions(running) == ()
        (told,) = [record.message for record in caplog.records if record.name == "farthing.live"]
        assert told.startswith("task triage, tier large: more than 20% of its live answers")
        assert told.endswith("it is the reference, so routes stay as they are")


async def test_a_cascade_goes_on_without_a_first_tier_that_broke(gateway: Gateway) -> None:
    failed = replace(CARD, verdict=Verdict.FAIL)
    async with gateway("grader: none", card=failed, policy="cascade") as running:
        running.mock.broken["small-model"] = ""
        first = await running.chat("item", headers=ROUTED)
        asked = 0
        while not demotions(running):
            asked += 1
            await running.chat(f"item {asked}", headers=ROUTED)
            await running.application.house.tick()
        after = await running.chat("afterwards", headers=ROUTED)

        assert first.headers["x-farthing-route"] == "cascade: small failed its check (empty), escalated to large"
        assert asked <= 20
        assert await running.metric("farthing_drift_answers", tier="small", signal="checks") == asked + 1
        assert after.headers["x-farthing-route"].startswith("reference: ")
        assert running.record_of(after).attempts[0].deployment == "mock/large-model"
        with ScorecardStore(running.application.house.files.scorecards) as store:
            assert store.queue() == ()


async def test_a_canary_grows_as_its_answers_are_graded(gateway: Gateway) -> None:
    policies = "policies:\n  careful: {kind: canary, items: 2}\n"
    async with gateway(policy="careful", extra=policies) as running:
        house = running.application.house
        before = await running.chat("item", headers=ROUTED)
        shares, number = [], 0
        for graded in (2, 4):
            while house.facts.now.evidence == () or house.facts.now.evidence[0].graded < graded:
                number += 1
                await running.chat(f"item {number}", headers=ROUTED)
                await settled(running)
                house.facts.refresh()
            shares.append((await running.chat(f"later {graded}", headers=ROUTED)).headers["x-farthing-route"])

        assert "canary" in before.headers["x-farthing-route"]
        assert "canary 25%, " in shares[0] or "not in the canary of small" in shares[0]
        assert shares[1].startswith("cheapest passing: small scored 0.95 of bar 0.80")
        assert shares[1].endswith("; canary 100%, 4 graded")


async def test_another_fingerprint_of_a_stream_counts_where_it_was_stable_in_the_eval(gateway: Gateway) -> None:
    stable, rotating = ("small-model fp_1",), ("small-model fp_1", "small-model fp_2")
    for number, (prints, causes) in enumerate(((rotating, []), (stable, ["fingerprint"]))):
        card = replace(CARD, fingerprints=prints, run_id=f"run-{number}", decided_ns=number + 1)
        async with gateway("grader: none", card=card) as running:
            running.mock.fingerprints["small-model"] = "fp_3"
            for item in range(4):
                await running.chat(f"item {item}", headers=ROUTED, stream=True)
            await running.application.house.tick()

            assert [demotion.cause for demotion in demotions(running)] == causes
