"""POST /api/explain: the same answers as the command, for a running gateway."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farthing.catalog import Feature, PolicyRule, PriceOverride, Task, VirtualKey
from farthing.routing import Demotion, LiveEvidence
from farthing.tasksigns import TaskRule, TaskSigns
from gateway.explaindesk import ExplainDesk
from gateway.facts import NO_FACTS, Facts
from gateway.pricing import Pricing
from gateway.runtime import Generation
from ledger.prices import PriceBook
from router_policies.tasks import Resolver
from tests.http.admin_setup import ADMIN_SECRET, CALLER_SECRET, HIT, NOW_NS, Installation, make_record, write_books
from tests.ledgers import Engine
from tests.unit.test_mix import PRICES
from tests.unit.test_policy_diff import BASE, PASSED, REFERENCE, generation

AT = {"received_ns": NOW_NS - 60 * 10**9, "model_served": "large", "provider": "home", "deployment": "home/large"}
CARDS = (replace(PASSED, decided_ns=NOW_NS - 10**9, e_value=81.5, e_needed=40.0, difference=-0.01), REFERENCE)


class Gateway:
    """The admin side of a gateway whose parts a test sets."""

    def __init__(self, engine: Engine) -> None:
        self.installation = Installation(engine=engine)
        self.generation: Generation = generation(cards=CARDS)
        self.facts: Facts = NO_FACTS
        self.installation.explain = ExplainDesk(
            database=engine.database,
            clock=self.installation.clock,
            generation=lambda: self.generation,
            facts=lambda: self.facts,
        )

    async def ask(self, asked: Any, *, status: int = 200, secret: str = ADMIN_SECRET) -> dict[str, Any]:
        async with self.installation.client(key=secret) as client:
            response = await client.post("/api/explain", json=asked)
        assert response.status_code == status, response.text
        answer: dict[str, Any] = response.json()
        return answer


@pytest.fixture
async def gateway(engine: Engine) -> AsyncIterator[Gateway]:
    await write_books(
        engine,
        [
            make_record("req-1", tier="large", policy="cheapest_passing", **AT),
            make_record("req-2", tier="large", **(HIT | AT)),
            make_record("req-3", tier="", policy="", model_requested="gone", **AT),
        ],
    )
    yield Gateway(engine)


def tiers(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {tier["tier"]: tier for tier in found["tiers"]}


def message(found: dict[str, Any]) -> str:
    text: str = found["error"]["message"]
    return text


async def test_a_row_is_told_with_what_each_tier_would_have_cost_and_where_it_would_go_now(gateway: Gateway) -> None:
    found = await gateway.ask({"request_id": "req-1"})

    assert (found["request_id"], found["task"], found["task_source"]) == ("req-1", "faq", "feature")
    assert (found["route"]["tier"], found["route"]["policy"]) == ("large", "cheapest_passing")
    assert found["tokens"] == {"input_uncached": 1000, "output": 200, "basis": "those that the row has"}
    assert {name: tier["deployments"][0]["cost_usd"] for name, tier in tiers(found).items()} == {
        "small": "0.000140000",
        "middle": "0.000700000",
        "large": "0.001400000",
    }
    assert [name for name, tier in tiers(found).items() if tier["taken"]] == ["large"]
    assert found["now"]["tier"] == "small"
    assert found["cost_usd"] == "0.002000000"
    assert any("asked chat/completions" in sentence for sentence in found["story"])


async def test_evidence_is_the_scorecard_or_the_advice_to_make_one(gateway: Gateway) -> None:
    found = tiers(await gateway.ask({"feature": "search"}))

    card = found["small"]["evidence"]
    assert {name: card[name] for name in ("verdict", "score", "low", "high", "items", "e_value", "e_needed")} == {
        "verdict": "pass",
        "score": 0.9,
        "low": 0.85,
        "high": 0.95,
        "items": 100,
        "e_value": 81.5,
        "e_needed": 40.0,
    }
    assert (card["run_id"], card["suite"], card["difference"], card["valid_until"]) == ("r", "faq", -0.01, None)
    assert found["middle"]["evidence"] is None
    assert found["middle"]["advice"] == ("no eval on record: `farthing eval run SUITE`, with a suite of the task faq")


async def test_a_demotion_is_shown_beside_the_pass_that_it_outweighs(gateway: Gateway) -> None:
    demotion = Demotion(
        task="faq", tier="small", at_ns=NOW_NS, until_ns=NOW_NS + 10**12, cause="drift", detail="it slid"
    )
    question = gateway.generation.destinations
    gateway.generation = replace(
        gateway.generation,
        destinations=type(question)(BASE, CARDS, NOW_NS, demotions=(demotion,)),
    )

    found = await gateway.ask({"feature": "search"})

    assert found["route"]["tier"] == "large"
    assert tiers(found)["small"]["why"] == "passed faq, but was demoted: it slid"
    assert tiers(found)["small"]["demotion"]["cause"] == "drift"


async def test_a_dry_run_is_priced_for_the_mean_answer_of_the_feature_without_hits(gateway: Gateway) -> None:
    found = await gateway.ask({"feature": "search", "task": "faq", "model": "auto"})

    assert found["request_id"] is None
    assert found["tokens"] == {
        "input_uncached": 1000,
        "output": 200,
        "basis": "the mean of 2 answers of search, task faq of the last 30 days",
    }
    assert found["route"]["tier"] == "small"


async def test_without_any_answer_no_cost_is_made_up(gateway: Gateway) -> None:
    found = await gateway.ask({"feature": "chat"})

    assert found["tokens"] is None
    assert all(tier["deployments"] == [] for tier in found["tiers"])
    assert "Give a body for an estimate" in found["notes"][0]


async def test_a_whole_body_is_admitted_resolved_and_estimated(gateway: Gateway) -> None:
    signs = TaskSigns(rules=(TaskRule(user_prefix="Which plan"),))
    plan = Task(name="plan", bar=BASE.tasks["faq"].bar, reference="middle", candidates=("small",), signs=signs)
    catalog = replace(BASE, tasks={**BASE.tasks, "plan": plan}, features={"mail": Feature(name="mail")})
    gateway.generation = replace(generation(catalog), resolver=Resolver(catalog.tasks.values()))

    found = await gateway.ask(
        {
            "body": {
                "model": "auto",
                "messages": [{"role": "user", "content": "Which plan is mine?"}],
                "max_tokens": 7,
            },
            "headers": {"X-Farthing-Feature": "mail", "authorization": "Bearer nothing-of-this-is-read"},
        }
    )

    assert (found["feature"], found["task"], found["task_source"]) == ("mail", "plan", "rule")
    assert found["task_rule"] == "rule 1 of plan: user_prefix"
    assert (found["route"]["tier"], found["route"]["reference_tier"]) == ("middle", "middle")
    assert found["tokens"]["output"] == 7
    assert 5 < found["tokens"]["input_uncached"] < 30
    assert found["tokens"]["basis"] == (
        "the input estimated from the body, the output the cap of the call, as no answer is known yet"
    )


async def test_a_key_brings_its_defaults_and_its_bounds(gateway: Gateway) -> None:
    gateway.installation.keys["mailer"] = VirtualKey(
        id="mailer", sha256=b"", tenant="acme", feature="search", features=frozenset({"search"}), task="faq"
    )
    body = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}

    found = await gateway.ask({"body": body, "key": "mailer"})
    refused = await gateway.ask({"body": body, "key": "mailer", "headers": {"x-farthing-feature": "chat"}}, status=403)

    assert (found["key"], found["feature"], found["task_source"]) == ("mailer", "search", "key")
    assert "may not book to feature 'chat'" in message(refused)


async def test_a_divided_traffic_is_told_with_its_shares(gateway: Gateway) -> None:
    canary = Feature(name="search", task="faq", policy="canary", rule=PolicyRule(kind="canary", items=50))
    gateway.generation = generation(replace(BASE, features={"search": canary}), CARDS)
    gateway.facts = Facts(evidence=(LiveEvidence(task="faq", tier="small", graded=60, e_worse=1.0),))

    found = await gateway.ask({"feature": "search"})

    assert [(part["tier"], part["share"]) for part in found["route"]["split"]] == [("small", 0.25), ("large", 0.75)]
    assert tiers(found)["small"]["live"] == {"graded": 60, "e_worse": 1.0}
    assert found["notes"] == []


async def test_a_model_that_the_caller_names_is_told_with_what_the_tiers_would_cost(gateway: Gateway) -> None:
    found = await gateway.ask({"feature": "search", "model": "tier/middle"})

    assert (found["route"]["policy"], found["route"]["tier"]) == ("pinned", "middle")
    assert tiers(found)["middle"]["why"] == "named by the caller"
    assert tiers(found)["small"]["deployments"][0]["cost_usd"] == "0.000140000"


async def test_a_row_whose_model_is_gone_is_told_all_the_same(gateway: Gateway) -> None:
    found = await gateway.ask({"request_id": "req-3"})

    assert found["now"] is None
    assert found["route"]["tier"] is None


async def test_a_hit_says_that_its_tokens_are_those_of_the_stored_answer(gateway: Gateway) -> None:
    found = await gateway.ask({"request_id": "req-2"})

    assert found["tokens"]["basis"].endswith("of the stored answer: the hit itself cost nothing")


async def test_prices_of_then_are_told_where_they_differ(gateway: Gateway) -> None:
    doubled = tuple(
        PriceOverride(
            provider=one.provider,
            model=one.model,
            input_per_mtok=2 * (one.input_per_mtok or 0),
            output_per_mtok=2 * (one.output_per_mtok or 0),
            valid_from_ns=NOW_NS - 10**9,
        )
        for one in PRICES
    )
    gateway.generation = replace(gateway.generation, pricing=Pricing(PriceBook((*PRICES, *doubled)), BASE))

    found = await gateway.ask({"request_id": "req-1"})

    [small] = tiers(found)["small"]["deployments"]
    assert (small["cost_usd"], small["cost_then_usd"]) == ("0.000280000", "0.000140000")


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({}, 400, "Give one of `request_id`, `feature` and `body`"),
        ({"request_id": "a", "feature": "search"}, 400, "Give one of"),
        ({"request_id": "a", "task": "faq"}, 400, "`task` does not go with `request_id`"),
        ({"feature": "search", "key": "app"}, 400, "`key` does not go with `feature`"),
        ({"feature": "serach"}, 400, "is not declared under `features:`"),
        ({"feature": "search", "task": "nope"}, 400, "is not declared under `tasks:`"),
        ({"feature": "search", "model": "gpt-9"}, 400, "a client can ask for: auto, "),
        ({"feature": 7}, 400, "feature"),
        ({"nothing": 1}, 400, "There is no member of that name"),
        ({"request_id": "nobody"}, 404, "The ledger has no request 'nobody'"),
        ({"body": []}, 400, "`body` must be an object"),
        ({"body": {}, "headers": []}, 400, "`headers` must be an object"),
        ({"body": {}, "headers": {"x-farthing-task": 1}}, 400, "must be a text"),
        ({"body": {}, "headers": {"x-farthing-task": "a b"}}, 400, "x-farthing-task"),
        ({"body": {}, "endpoint": "files"}, 400, "`endpoint` must be one of"),
        ({"body": {}, "key": "nobody"}, 400, "There is no key"),
        ({"body": {"model": "auto"}, "headers": {"x-farthing-feature": "search"}}, 400, "`messages` must be"),
        ({"body": {"model": "auto", "pad": "x" * 2**20}}, 413, "larger than"),
    ],
)
async def test_a_question_that_cannot_be_answered_says_why(
    gateway: Gateway, asked: dict[str, Any], status: int, words: str
) -> None:
    assert words in message(await gateway.ask(asked, status=status))


async def test_only_admins_may_ask(gateway: Gateway) -> None:
    await gateway.ask({"feature": "search"}, status=403, secret=CALLER_SECRET)
    await gateway.ask({"feature": "search"}, status=401, secret="fk-nobody")


async def test_nothing_of_a_body_comes_back(gateway: Gateway) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "a very secret sentence"}]}

    found = await gateway.ask({"body": body, "headers": {"x-farthing-feature": "search"}})

    assert "secret" not in str(found)


async def test_the_page_of_a_request_shows_what_else_there_was(gateway: Gateway) -> None:
    async with gateway.installation.client() as browser:
        await browser.post("/dashboard/login", data={"key": ADMIN_SECRET})
        page = await browser.get("/dashboard/requests/req-1")

    assert page.status_code == 200
    assert "What else there was" in page.text
    assert "home/small: 0.000140000 USD" in page.text
    assert "e-value 81.5 of 40 needed" in page.text
    assert "now such a call would go to small" in page.text


async def test_every_member_of_an_answer_is_in_the_page_on_the_door(gateway: Gateway) -> None:
    door = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")

    found = await gateway.ask({"request_id": "req-1"})

    small = tiers(found)["small"]
    names = {*found, *found["route"], *small, *small["deployments"][0], *small["evidence"]}
    assert [name for name in sorted(names) if f'"{name}"' not in door and f"`{name}`" not in door] == []
