"""Changing the configuration and the evidence while the gateway runs."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from evals.cardfiles import CardFiles
from evals.scorecards import ScorecardStore
from evals.shelf import Shelf
from farthing.record import Outcome
from farthing.routing import Demotion, Scorecard, Verdict
from tests.gateway import ADMIN_KEY, OTHER_KEY, RunningGateway, hash_of, running_gateway
from tests.processes import ROOT, edit

NEW_KEY = "fk-test-key-of-a-newcomer"
PLAIN_PRICE = "model: plain-model, input_per_mtok: 1, output_per_mtok: 2"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, duration_ms=500) as running:
        yield running


async def reload(gateway: RunningGateway) -> None:
    """A change is taken when two looks in a row see the same; a third would find nothing left to do."""
    for _ in range(3):
        await gateway.application.house.tick()


async def change(gateway: RunningGateway, *changes: tuple[str, str]) -> None:
    edit(gateway.config, *changes)
    await reload(gateway)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_new_feature_is_taken_and_booked(gateway: RunningGateway) -> None:
    before = await gateway.chat(headers={"x-farthing-feature": "brand-new"})

    await change(gateway, ("features:\n", "features:\n  brand-new: {team: research}\n"))

    after = await gateway.chat(headers={"x-farthing-feature": "brand-new"})
    assert (before.status_code, after.status_code) == (400, 200)
    assert gateway.record_of(after).tags.team == "research"
    assert await gateway.metric("farthing_requests_total", feature="brand-new") == 1


async def test_a_new_budget_refuses_the_next_call(gateway: RunningGateway) -> None:
    before = await gateway.chat("one", headers={"x-farthing-feature": "plain"})

    await change(
        gateway, ("budgets:\n", 'budgets:\n  - {id: stop, limit_usd: "0", window: day, where: {feature: plain}}\n')
    )

    after = await gateway.chat("two", headers={"x-farthing-feature": "plain"})
    assert (before.status_code, after.status_code) == (200, 402)
    assert "stop" in after.json()["error"]["message"]


async def test_a_new_key_works_and_a_removed_one_does_not(gateway: RunningGateway) -> None:
    line = f'  - {{id: second, hash: "{hash_of(OTHER_KEY)}", tenant: globex, feature: chat, features: [chat]}}\n'
    before = [(await gateway.chat(headers=bearer(key))).status_code for key in (OTHER_KEY, NEW_KEY)]

    await change(gateway, (line, f'  - {{id: third, hash: "{hash_of(NEW_KEY)}", tenant: initech, feature: chat}}\n'))

    after = [(await gateway.chat(headers=bearer(key))).status_code for key in (OTHER_KEY, NEW_KEY)]
    assert (before, after) == ([200, 401], [401, 200])
    assert gateway.records()[-1].tags.tenant == "initech"


async def test_a_new_price_is_charged_from_the_next_call_on(gateway: RunningGateway) -> None:
    plain = {"x-farthing-feature": "plain"}
    before = gateway.record_of(await gateway.chat("a", model="plain-model", headers=plain))

    await change(gateway, (PLAIN_PRICE, "model: plain-model, input_per_mtok: 10, output_per_mtok: 20"))

    after = gateway.record_of(await gateway.chat("a", model="plain-model", headers=plain))
    assert after.cost == before.cost * 10
    assert after.price_version != before.price_version


async def test_a_call_under_way_keeps_the_prices_with_which_it_began(gateway: RunningGateway) -> None:
    body = {"model": "plain-model", "stream": True, "messages": [{"role": "user", "content": "a"}]}
    async with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.aiter_lines()
        await anext(lines)

        await change(gateway, (PLAIN_PRICE, "model: plain-model, input_per_mtok: 10, output_per_mtok: 20"))

        under_way = not gateway.records()
        rest = [line async for line in lines]
    assert under_way
    assert rest[-2] == "data: [DONE]"
    (record,) = gateway.records()
    assert record.cost == record.usage.input_total * 1000 + record.usage.output_total * 2000


async def readiness(gateway: RunningGateway, *, admin: bool) -> tuple[int, dict[str, object]]:
    response = await gateway.client.get("/readyz", headers=bearer(ADMIN_KEY) if admin else None)
    return response.status_code, response.json()


async def test_a_broken_file_keeps_the_old_settings_and_says_so_until_it_is_mended(gateway: RunningGateway) -> None:
    file = gateway.config / "farthing.yaml"
    good = file.read_text()
    edit(gateway.config, ("features:\n", "features: [\n"))
    await reload(gateway)

    broken = await readiness(gateway, admin=True)
    for_everybody = await readiness(gateway, admin=False)
    ok_while_broken = await gateway.metric("farthing_config_ok")
    served = await gateway.chat("still served")
    file.write_text(good)
    await reload(gateway)

    assert broken[0] == for_everybody[0] == 200  # it serves on, so it is ready
    assert broken[1]["reasons"] == for_everybody[1]["reasons"] == ["config"]
    assert "farthing.yaml:" in json.dumps(broken[1]["problems"])
    assert "problems" not in for_everybody[1]
    assert ok_while_broken == 0
    assert served.status_code == 200
    assert await readiness(gateway, admin=True) == (200, {"status": "ready", "reasons": []})
    assert await gateway.metric("farthing_config_ok") == 1


async def test_a_file_that_vanished_keeps_the_old_settings(gateway: RunningGateway) -> None:
    file = gateway.config / "farthing.yaml"
    aside = file.rename(file.with_suffix(".aside"))
    await reload(gateway)

    gone = await readiness(gateway, admin=False)
    served = await gateway.chat("still served")
    aside.rename(file)
    await reload(gateway)

    assert gone[1]["reasons"] == ["config"]
    assert served.status_code == 200
    assert await gateway.metric("farthing_config_ok") == 1


async def test_who_may_read_metrics_changes_without_a_restart(gateway: RunningGateway) -> None:
    await change(gateway, ("port: 0,", "port: 0, metrics_access: key,"))

    answers = [
        (await gateway.client.get("/metrics", headers=bearer(key))).status_code for key in (OTHER_KEY, ADMIN_KEY)
    ]
    assert answers == [403, 200]


def card(gateway: RunningGateway, verdict: Verdict) -> Scorecard:
    catalog, now_ns = gateway.application.house.settings.catalog, gateway.application.house.clock.wall_ns()
    return Scorecard(
        task="triage",
        tier="small",
        verdict=verdict,
        score=0.9 if verdict is Verdict.PASS else 0.1,
        bar=0.8,
        items=50,
        suite="triage",
        suite_hash=hashlib.sha256(b"suite").hexdigest(),
        models=tuple(place.id for place in catalog.tier("small").deployments),
        run_id=f"run-{now_ns}",
        decided_ns=now_ns,
    )


def record_card(gateway: RunningGateway, verdict: Verdict) -> None:
    with ScorecardStore(gateway.application.house.files.scorecards) as store:
        store.add(card(gateway, verdict))


async def test_a_new_scorecard_changes_the_route_and_old_answers_stay_with_their_tier(gateway: RunningGateway) -> None:
    async def ask() -> tuple[str, str]:
        answer = await gateway.chat("sort this", headers={"x-farthing-feature": "routed"})
        return answer.headers["x-farthing-tier"], answer.headers["x-farthing-cache"]

    trusted = [await ask(), await ask()]
    record_card(gateway, Verdict.PASS)
    await gateway.application.house.tick()
    passed = [await ask(), await ask()]
    record_card(gateway, Verdict.FAIL)
    await gateway.application.house.tick()
    failed = await ask()

    assert trusted == [("large", "miss"), ("large", "exact")]
    assert passed == [("small", "miss"), ("small", "exact")]
    assert failed == ("large", "exact")  # the trusted tier's own answer, still good


async def test_a_pass_of_a_suite_that_changed_on_disk_does_not_count_and_a_broken_one_is_told(
    tmp_path: Path,
) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    text = (ROOT / "evals" / "suites" / "sentiment.yaml").read_text().replace("task: sentiment", "task: triage")
    (suites / "triage.yaml").write_text(text)
    version = Shelf(suites).look().versions()["triage"]
    async with running_gateway(tmp_path, extra=f"evals: {{feature: chat, suites: {suites}}}\n") as gateway:
        house = gateway.application.house
        asked = {"x-farthing-feature": "routed"}

        async def tier_now() -> str:
            await house.tick()
            return (await gateway.chat("one", headers=asked)).headers["x-farthing-tier"]

        with ScorecardStore(house.files.scorecards) as store:
            store.add(replace(card(gateway, Verdict.PASS), suite_hash=version.hash, grader=version.grader))
            passed = await tier_now()
            (suites / "triage.yaml").write_text(text.replace("bar: 0.7\n", "bar: 0.75\n"))
            store.demote(DEMOTION_OF_ANOTHER)  # any new evidence makes it look at once, else it does each minute
            changed = await tier_now()
            (suites / "triage.yaml").write_text("task: [\n")
            store.demote(DEMOTION_OF_ANOTHER)
            await house.tick()
            (suites / "triage.yaml").write_text("")  # as an editor leaves it while it saves
            store.demote(DEMOTION_OF_ANOTHER)
            half_saved = await tier_now()
        page = (await gateway.client.get("/readyz", headers=bearer(ADMIN_KEY))).text

    assert (passed, changed, half_saved) == ("small", "large", "large")
    assert "triage.yaml:1" in page


async def test_a_scorecard_in_a_file_routes_and_goes_on_where_the_file_is_spoilt(tmp_path: Path) -> None:
    cards = CardFiles(tmp_path / "cards")
    extra = f"evals: {{feature: chat, scorecards: files, scorecards_dir: {cards.directory}}}\n"
    async with running_gateway(tmp_path, extra=extra) as gateway:
        asked = {"x-farthing-feature": "routed"}

        async def tier_now(text: str) -> str:
            await gateway.application.house.tick()
            return (await gateway.chat(text, headers=asked)).headers["x-farthing-tier"]

        before = await tier_now("one")
        file = cards.write(card(gateway, Verdict.PASS))
        passed, good = await tier_now("two"), file.read_text()
        spoilt = []
        for text in ("", good[:80], good.replace("verdict: pass", "verdict: passed"), good.replace("0.9", "0.95")):
            file.write_text(text)
            spoilt.append((await tier_now(f"three {text}"), file.name in str(await readiness(gateway, admin=True))))
        file.write_text(good)
        mended = await tier_now("four"), await readiness(gateway, admin=True)

    assert (before, passed) == ("large", "small")
    assert spoilt == [("small", True)] * 4
    assert mended == ("small", (200, {"status": "ready", "reasons": []}))


async def test_with_scorecards_as_files_a_merged_file_routes_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    cards = CardFiles(tmp_path / "cards")
    extra = f"evals: {{feature: chat, scorecards: files, scorecards_dir: {cards.directory}}}\n"
    async with running_gateway(tmp_path, extra=extra) as gateway:

        async def tier_now() -> str:
            await gateway.application.house.tick()
            return (await gateway.chat("one", headers={"x-farthing-feature": "routed"})).headers["x-farthing-tier"]

        record_card(gateway, Verdict.PASS)  # rows do not count
        by_row = await tier_now()
        file = cards.write(card(gateway, Verdict.PASS))
        merged = await tier_now()
        file.write_text(file.read_text().replace("verdict: pass", "verdict: maybe"))
        broken = await tier_now()
        page = (await gateway.client.get("/readyz", headers=bearer(ADMIN_KEY))).text
        file.unlink()
        removed = await tier_now()

    assert (by_row, merged, broken, removed) == ("large", "small", "small", "large")
    assert "verdict: is pass, fail or undecided" in page


DEMOTION_OF_ANOTHER = Demotion(task="other", tier="small", at_ns=1, until_ns=2, cause="drift", detail="d")


async def test_a_demotion_takes_a_tier_off_the_task_within_a_tick(gateway: RunningGateway) -> None:
    record_card(gateway, Verdict.PASS)
    await gateway.application.house.tick()
    asked = {"x-farthing-feature": "routed"}
    passed = await gateway.chat("one", headers=asked)

    now_ns = gateway.application.house.clock.wall_ns()
    lost = Demotion(
        task="triage", tier="small", at_ns=now_ns, until_ns=now_ns + 10**12, cause="drift", detail="answers got worse"
    )
    with ScorecardStore(gateway.application.house.files.scorecards) as store:
        store.demote(lost)
    await gateway.application.house.tick()
    demoted = await gateway.chat("two", headers=asked)

    assert passed.headers["x-farthing-tier"] == "small"
    assert demoted.headers["x-farthing-tier"] == "large"


async def test_a_storm_of_calls_across_reloads_is_served_whole(gateway: RunningGateway) -> None:
    async def caller(number: int) -> list[int]:
        plain = {"x-farthing-feature": "plain"}
        return [(await gateway.chat(f"{number} {turn}", headers=plain)).status_code for turn in range(10)]

    calling = asyncio.gather(*(caller(number) for number in range(5)))
    for turn in range(5):
        await change(gateway, ("features:\n", f"features:\n  extra-{turn}: {{team: research}}\n"))
        await asyncio.sleep(0.01)

    assert [status for statuses in await calling for status in statuses] == [200] * 50
    assert [record.outcome for record in gateway.records()] == [Outcome.SUCCESS] * 50


async def test_a_bad_file_is_told_in_the_log_once_and_so_is_its_mending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_gateway(tmp_path) as gateway:
        file = gateway.config / "farthing.yaml"
        good = file.read_text()
        caplog.set_level("INFO", logger="farthing")

        file.write_text(good + "nonsense: true\n")
        for _ in range(5):
            await gateway.application.house.tick()
        file.write_text(good)
        for _ in range(5):
            await gateway.application.house.tick()

        told = [record.getMessage() for record in caplog.records if "configuration" in record.getMessage()]
        assert len(told) == 2
        assert "nonsense" in told[0]
        assert "in use again" in told[1]


async def test_a_budget_that_a_reload_takes_away_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_gateway(tmp_path) as gateway:
        file = gateway.config / "farthing.yaml"
        lines = file.read_text().splitlines(keepends=True)

        file.write_text("".join(line for line in lines if "capped-day" not in line))
        for _ in range(3):
            await gateway.application.house.tick()

        assert "budget 'capped-day' is no longer in the configuration" in caplog.text


FALLING = "  - name: small\n    fallback: large\n"


async def test_a_circle_of_fallbacks_is_told_with_its_place_and_what_was_valid_goes_on(gateway: RunningGateway) -> None:
    await change(gateway, ("  - name: small\n", FALLING))
    taken = await gateway.metric("farthing_config_ok")

    await change(gateway, ("  - name: large\n", "  - name: large\n    fallback: small\n"))

    answer = await gateway.chat("still there?", model="tier/small")
    problems = [problem.detail for problem in gateway.application.house._problems()]
    assert (taken, await gateway.metric("farthing_config_ok"), answer.status_code) == (1, 0, 200)
    assert any("tiers[0].fallback: tiers fall back in a circle (small -> large -> small)" in text for text in problems)


async def test_what_is_known_of_a_deployment_outlives_a_reload_and_not_another_address(gateway: RunningGateway) -> None:
    tier = "deployments: [{provider: mock, model: small-model, context_window: 8000}]"
    two = "deployments: [{provider: mock, model: small-model}, {provider: dead, model: small-model}]"
    balancer = gateway.application.house.runtime.forwarder.balancer

    await change(gateway, (tier, two))
    for number in range(2):
        await gateway.chat(f"question {number}", model="tier/small")
    opened = not balancer.lines["dead/small-model"].breaker.is_closed
    await change(gateway, ("features:\n", "features:\n  brand-new: {team: research}\n"))
    kept = not balancer.lines["dead/small-model"].breaker.is_closed
    await change(gateway, ("base_url: http://127.0.0.1:1\n", "base_url: http://127.0.0.1:2\n"))

    assert (opened, kept, balancer.lines["dead/small-model"].breaker.is_closed) == (True, True, True)
