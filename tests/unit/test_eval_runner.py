"""A run through a gateway: what is asked, what is recorded, and when it stops."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evals.gateway import connect
from evals.report import ItemOutcome, Role, TierResult
from evals.runner import RunOptions, run_suite
from evals.suite import Assertion, Item, Limits, Suite
from farthing.errors import ConfigError
from farthing.routing import Verdict

MODELS = {"tiny": ("local/tiny",), "large": ("cloud/large-a", "cloud/large-b")}


class TickingClock:
    """Wall time stands still; each reading of the monotonic clock is half a second later."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def wall_ns(self) -> int:
        return 1_000

    def monotonic(self) -> float:
        self._seconds += 0.5
        return self._seconds


Reply = Callable[[str, str], Response]
"""From the tier and the prompt to what the gateway answers."""


def completion(text: str | None, **headers: str) -> Response:
    body = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    told = {"x-farthing-cost-usd": "0.000100000", "x-farthing-model": "m-1", "x-farthing-cache": "miss"}
    return JSONResponse(body, headers=told | {name.replace("_", "-"): value for name, value in headers.items()})


def refusal(status: int, code: str, source: str = "gateway") -> Response:
    error = {"message": "Do this.", "type": "t", "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers={"x-farthing-error-source": source})


@dataclass
class FakeGateway:
    """A gateway in this process that answers as `reply` says and remembers what it was asked."""

    reply: Reply
    asked: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)

    def client(self) -> httpx.AsyncClient:
        app = Starlette(routes=[Route("/v1/chat/completions", self._answer, methods=["POST"])])
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway/v1/")

    async def _answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append((body, dict(request.headers)))
        return self.reply(body["model"].removeprefix("tier/"), body["messages"][-1]["content"])


def suite(count: int = 12, *, limits: Limits | None = None, bar: float = 0.8) -> Suite:
    """Item n asks "q n" and wants "a n"."""
    return Suite(
        name="numbers",
        task="counting",
        bar=bar,
        reference="large",
        candidates=("tiny",),
        limits=limits or Limits(),
        items=tuple(
            Item(
                messages=({"role": "user", "content": f"q{number}"},),
                assertions=(Assertion(type="equals", value=f"a{number}"),),
                max_tokens=8,
                temperature=0,
            )
            for number in range(count)
        ),
    )


def knows_all(tier: str, prompt: str) -> Response:
    return completion(prompt.replace("q", "a"), x_farthing_tier=tier)


async def run(fake: FakeGateway, tested: Suite, **options: Any) -> Any:
    async with fake.client() as client:
        return await run_suite(tested, client, RunOptions(run_id="7", models=MODELS, **options), clock=TickingClock())


async def test_a_candidate_and_the_reference_get_their_verdicts_and_their_evidence() -> None:
    def tiny_knows_little(tier: str, prompt: str) -> Response:
        return completion(prompt if tier == "tiny" else prompt.replace("q", "a"), x_farthing_tier=tier)

    report = await run(FakeGateway(tiny_knows_little), suite())

    tiny, large = report.tiers
    assert (tiny.tier, tiny.role, tiny.verdict, tiny.score) == ("tiny", Role.CANDIDATE, Verdict.FAIL, 0.0)
    assert (large.tier, large.role, large.verdict, large.score) == (
        "large",
        Role.REFERENCE,
        Verdict.PASS,
        1.0,
    )
    assert large.models == ("cloud/large-a", "cloud/large-b")
    assert report.cost == 24 * 100_000  # 24 answers of 0.0001 USD, in nano-dollars
    assert report.stopped == ""


async def test_each_question_is_pinned_to_its_tier_and_tagged() -> None:
    fake = FakeGateway(knows_all)

    await run(fake, suite())

    body, headers = fake.asked[0]
    assert body["model"] == "tier/tiny"
    assert body["messages"][0]["content"].startswith("q")
    assert (body["max_tokens"], body["temperature"]) == (8, 0)
    assert headers["x-farthing-feature"] == "evals"
    assert headers["x-farthing-task"] == "counting"
    assert headers["x-farthing-run"] == "eval-7"
    assert "cache-control" not in headers


async def test_a_fresh_run_refuses_stored_answers() -> None:
    fake = FakeGateway(knows_all)

    await run(fake, suite(), fresh=True, feature="quality")

    assert {headers["cache-control"] for _, headers in fake.asked} == {"no-cache"}
    assert {headers["x-farthing-feature"] for _, headers in fake.asked} == {"quality"}


async def test_an_outcome_keeps_a_digest_of_the_answer_and_not_its_text() -> None:
    report = await run(FakeGateway(knows_all), suite(), with_reference=False)

    outcome = report.tiers[0].outcomes[0]
    digests = {hashlib.sha256(f"a{number}".encode()).hexdigest() for number in range(12)}
    assert outcome.output == ""
    assert outcome.output_sha256 in digests
    assert outcome.item_hash in {item.hash for item in suite().items}
    assert (outcome.model, outcome.cost, outcome.cache) == ("m-1", 100_000, "miss")
    assert outcome.seconds > 0


async def test_the_text_is_kept_where_it_was_asked_for() -> None:
    report = await run(FakeGateway(knows_all), suite(), keep_outputs=True)

    assert {outcome.output for outcome in report.tiers[0].outcomes} == {f"a{number}" for number in range(12)}


async def test_the_budget_stops_a_run_before_it_is_passed() -> None:
    fake = FakeGateway(knows_all)

    report = await run(fake, suite(limits=Limits(budget_usd=Decimal("0.0015"))))

    tiny, large = report.tiers
    assert tiny.verdict is Verdict.PASS
    assert large.verdict is Verdict.UNDECIDED
    assert report.cost <= 1_500_000
    assert len(fake.asked) == 15  # 12 for tiny, 3 for large, 0.0001 USD each
    assert report.stopped == "the budget of 0.0015 USD does not reach further"


async def test_a_spent_gateway_budget_stops_the_run_as_undecided() -> None:
    fake = FakeGateway(lambda tier, prompt: refusal(402, "budget_exceeded"))

    report = await run(fake, suite())

    assert report.stopped == "the gateway answered 402 budget_exceeded: Do this."
    assert [tier.verdict for tier in report.tiers] == [Verdict.UNDECIDED, Verdict.UNDECIDED]
    assert len(fake.asked) <= 2


@pytest.mark.parametrize(
    ("reply", "stopped"),
    [
        (lambda tier, _: refusal(401, "invalid_api_key"), "401 invalid_api_key"),
        (lambda tier, _: refusal(400, "unregistered_feature"), "400 unregistered_feature"),
        (lambda tier, _: completion("x", x_farthing_tier="large"), "tier tiny was asked, but large answered"),
        (lambda tier, _: completion("x", x_farthing_cache="semantic"), "turn semantic_cache off for feature evals"),
        (lambda tier, _: completion("x", x_farthing_cost_usd="free"), "no x-farthing-cost-usd in the answer"),
    ],
)
async def test_what_would_spoil_every_answer_stops_the_run_and_says_what_to_do(reply: Reply, stopped: str) -> None:
    fake = FakeGateway(reply)

    report = await run(fake, suite())

    assert stopped in report.stopped
    assert report.tiers[0].verdict is Verdict.UNDECIDED
    assert len(fake.asked) <= 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (lambda tier, _: refusal(502, "upstream_error"), "upstream_error"),
        (lambda tier, _: refusal(400, "context_length_exceeded", "upstream"), "context_length_exceeded"),
        (lambda tier, _: JSONResponse({"choices": []}), "malformed_answer"),
        (lambda tier, _: JSONResponse([1], 500), "http_500"),
    ],
)
async def test_a_tier_that_keeps_failing_is_given_up_as_undecided(reply: Reply, code: str) -> None:
    fake = FakeGateway(reply)

    report = await run(fake, suite(), with_reference=False)

    (tiny,) = report.tiers
    assert tiny.verdict is Verdict.UNDECIDED
    assert {outcome.error for outcome in tiny.outcomes} == {code}
    assert 3 <= len(fake.asked) <= 4
    assert report.stopped == ""


async def test_a_gateway_that_cannot_be_reached_leaves_every_tier_undecided() -> None:
    async with connect("http://127.0.0.1:9/v1", "key", timeout_s=5) as client:
        report = await run_suite(suite(), client, RunOptions(run_id="7", models=MODELS), clock=TickingClock())

    assert "times unreachable" in report.tiers[0].reason


async def test_a_null_content_is_an_empty_output() -> None:
    report = await run(FakeGateway(lambda tier, _: completion(None, x_farthing_tier=tier)), suite())

    assert report.tiers[0].reason == "invalid: 12 of 12 outputs are empty"


async def test_a_text_that_is_not_unicode_can_be_kept() -> None:
    body = b'{"choices": [{"message": {"content": "\\ud800"}}]}'
    reply = Response(body, headers={"x-farthing-cost-usd": "0"})

    report = await run(FakeGateway(lambda tier, _: reply), suite(), keep_outputs=True)

    assert report.tiers[0].outcomes[0].output == "?"


async def test_a_tier_that_the_catalogue_lacks_is_told_before_anything_is_asked() -> None:
    fake = FakeGateway(knows_all)

    async with fake.client() as client:
        with pytest.raises(ConfigError, match=r"names tiers that config/routing.yaml does not have: large"):
            await run_suite(suite(), client, RunOptions(run_id="7", models={"tiny": ()}), clock=TickingClock())

    assert fake.asked == []


@pytest.mark.parametrize(
    ("limits", "options", "until_ns"),
    [
        (Limits(max_age_s=60), {}, 1_000 + 60 * 10**9),
        (Limits(), {"valid_for_s": 30}, 1_000 + 30 * 10**9),
        (Limits(), {"valid_for_s": None}, None),
    ],
)
async def test_a_verdict_lasts_as_long_as_the_suite_or_else_the_run_says(
    limits: Limits, options: dict[str, Any], until_ns: int | None
) -> None:
    report = await run(FakeGateway(knows_all), suite(limits=limits), **options)

    assert {card.valid_until_ns for card in report.scorecards()} == {until_ns}


async def test_the_cards_say_what_was_tested() -> None:
    report = await run(FakeGateway(knows_all), suite())

    card = report.scorecards()[0]
    assert (card.task, card.tier, card.verdict, card.models) == (
        "counting",
        "tiny",
        Verdict.PASS,
        ("local/tiny",),
    )
    assert (card.score, card.bar, card.items) == (1.0, 0.8, 12)
    assert (card.suite, card.suite_hash, card.run_id) == ("numbers", suite().hash, "7")


async def test_progress_hears_of_every_tier_and_item() -> None:
    heard: list[str] = []

    class Listener:
        def began(self, tier: str, role: Role, items: int) -> None:
            heard.append(f"began {tier} {role} {items}")

        def asked(self, outcome: ItemOutcome) -> None:
            heard.append("asked")

        def ended(self, result: TierResult) -> None:
            heard.append(f"ended {result.tier} {result.verdict}")

    async with FakeGateway(knows_all).client() as client:
        await run_suite(
            suite(10),
            client,
            RunOptions(run_id="7", models=MODELS, with_reference=False),
            clock=TickingClock(),
            progress=Listener(),
        )

    assert heard == ["began tiny candidate 10", *["asked"] * 10, "ended tiny pass"]
