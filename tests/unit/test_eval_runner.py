"""A run through a gateway: what is asked, what is recorded, and when it stops."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evals.cellstore import CellStore
from evals.gate import Pace
from evals.gateway import connect
from evals.judges import Standing, standing_key
from evals.options import RunOptions
from evals.outlook import lacking
from evals.report import EvalReport, ItemOutcome, Role, TierResult
from evals.runner import run_suite
from evals.suite import Assertion, Item, Judge, Limits, Suite
from farthing.errors import ConfigError
from farthing.money import Nano
from farthing.routing import Verdict

MODELS = {"tiny": ("local/tiny",), "small": ("cloud/small",), "large": ("cloud/large-a", "cloud/large-b")}
DAY_NS = 86_400 * 10**9
START_NS = 100 * DAY_NS


class TickingClock:
    """Each reading of the monotonic clock is half a second later, each of the wall clock a nanosecond."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self._seconds = 0.0
        self.now_ns = now_ns

    def wall_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def monotonic(self) -> float:
        self._seconds += 0.5
        return self._seconds


Reply = Callable[[str, str], Response]
"""From the tier and the prompt to what the gateway answers."""


def completion(text: str | None, fingerprint: str | None = None, **headers: str) -> Response:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body: dict[str, Any] = {"model": "m-1", "choices": [choice]}
    if fingerprint:
        body["system_fingerprint"] = fingerprint
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

    def count(self, tier: str) -> int:
        return sum(body["model"] == f"tier/{tier}" for body, _ in self.asked)

    async def _answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.asked.append((body, dict(request.headers)))
        return self.reply(body["model"].removeprefix("tier/"), body["messages"][-1]["content"])


def suite(count: int = 60, *, bar: float = 0.8, **given: Any) -> Suite:
    """Item n asks "q n" and wants "a n"."""
    asked: dict[str, Any] = {
        "reference": "large",
        "candidates": ("tiny",),
        "limits": Limits(),
        "type": "equals",
    } | given
    kind, value = asked.pop("type", "equals"), asked.pop("value", None)
    return Suite(
        name="numbers",
        task="counting",
        bar=bar,
        items=tuple(
            Item(
                messages=({"role": "user", "content": f"q{number}"},),
                assertions=(Assertion(type=kind, value=f"a{number}" if kind == "equals" else value),),
                max_tokens=8,
                temperature=0,
            )
            for number in range(count)
        ),
        **asked,
    )


def right(tier: str, prompt: str) -> Response:
    return completion(prompt.replace("q", "a"), x_farthing_tier=tier)


def wrong_is(*bad: str) -> Reply:
    """A gateway whose named tiers know nothing."""

    def reply(tier: str, prompt: str) -> Response:
        return completion(prompt if tier in bad else prompt.replace("q", "a"), x_farthing_tier=tier)

    return reply


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[CellStore]:
    with CellStore(tmp_path / "evals.db") as opened:
        yield opened


async def run(
    fake: FakeGateway, tested: Suite, cells: CellStore, *, now_ns: int = START_NS, progress: Any = None, **options: Any
) -> EvalReport:
    given = RunOptions(**{"run_id": "7", "models": MODELS, "retry_pause_s": 0, **options})
    async with fake.client() as client:
        clock = TickingClock(now_ns)
        return await run_suite(tested, client, given, cells=cells, clock=clock, progress=progress)


def results(report: EvalReport) -> dict[str, TierResult]:
    return {result.tier: result for result in report.tiers}


# --- the verdict -------------------------------------------------------------------------------------


async def test_a_candidate_without_a_fault_is_promoted_long_before_the_suite_ends(cells: CellStore) -> None:
    fake = FakeGateway(right)

    report = await run(fake, suite(400), cells)

    tiny, large = report.tiers
    assert (tiny.tier, tiny.role, tiny.verdict, tiny.evidence.score) == ("tiny", Role.CANDIDATE, Verdict.PASS, 1.0)
    assert tiny.evidence.e_value >= tiny.evidence.e_needed == 20
    assert 20 <= tiny.evidence.items < 100
    assert (large.tier, large.role, large.models) == ("large", Role.REFERENCE, ("cloud/large-a", "cloud/large-b"))
    assert fake.count("large") == 20  # with a bar alone they are not compared: its first answers show that it is fit
    assert report.cost == len(fake.asked) * 100_000
    assert report.stopped == ""


async def test_a_candidate_that_knows_nothing_fails_at_the_first_look(cells: CellStore) -> None:
    fake = FakeGateway(wrong_is("tiny"))

    report = await run(fake, suite(), cells)

    tiny = results(report)["tiny"]
    assert (tiny.verdict, tiny.evidence.items, tiny.evidence.score) == (Verdict.FAIL, 20, 0.0)
    assert fake.count("tiny") == 20


async def test_with_a_margin_the_reference_answers_the_same_items(cells: CellStore) -> None:
    fake = FakeGateway(right)

    report = await run(fake, suite(200, bar=0, margin=0.05), cells, concurrency=1)

    tiny = results(report)["tiny"]
    assert tiny.verdict is Verdict.PASS
    assert tiny.evidence.difference == 0
    assert fake.count("large") == fake.count("tiny") == tiny.evidence.items < 200


async def test_a_reference_that_misses_the_bar_itself_refuses_the_run_before_candidates_are_paid(
    cells: CellStore,
) -> None:
    fake = FakeGateway(wrong_is("large"))

    report = await run(fake, suite(200, margin=0.05), cells)

    tiny = results(report)["tiny"]
    assert tiny.reason.startswith(
        "undecided: the reference tier large is refused: it does not reach the bar of 0.8 itself"
    )
    assert report.refused.startswith("it does not reach the bar of 0.8 itself")
    assert (fake.count("large"), fake.count("tiny")) == (20, 0)


async def test_a_reference_that_says_nothing_refuses_the_run(cells: CellStore) -> None:
    fake = FakeGateway(lambda tier, _: completion("" if tier == "large" else "x", x_farthing_tier=tier))

    report = await run(fake, suite(200, bar=0, margin=0.05), cells)

    reason = results(report)["tiny"].reason
    assert reason == "undecided: the reference tier large is refused: invalid: 20 of 20 outputs are empty"


async def test_the_cheapest_candidate_is_tried_first_and_the_first_promotion_ends_the_run(cells: CellStore) -> None:
    fake = FakeGateway(right)

    report = await run(fake, suite(100, candidates=("small", "tiny")), cells)

    assert [result.tier for result in report.tiers] == ["tiny", "large"]
    assert report.untried == ("small",)
    assert fake.count("small") == 0


async def test_a_dearer_candidate_is_tried_where_the_cheaper_one_fails(cells: CellStore) -> None:
    report = await run(FakeGateway(wrong_is("tiny")), suite(100, candidates=("tiny", "small")), cells)

    found = results(report)
    assert (found["tiny"].verdict, found["small"].verdict) == (Verdict.FAIL, Verdict.PASS)
    assert found["small"].evidence.e_needed == 40  # two candidates, either of which might be promoted by luck


async def test_a_candidate_with_one_answer_for_everybody_is_not_promoted(cells: CellStore) -> None:
    def flatters(tier: str, prompt: str) -> Response:
        return completion("yes" if tier == "tiny" else prompt, x_farthing_tier=tier)

    report = await run(FakeGateway(flatters), suite(100, type="regex", value="."), cells)

    assert results(report)["tiny"].reason == "undecided: invalid: one output answers 100% of the prompts"


async def test_what_is_not_the_json_that_was_asked_for_is_no_verdict_on_the_model(cells: CellStore) -> None:
    def chats(tier: str, prompt: str) -> Response:
        return completion("certainly!" if tier == "tiny" else json.dumps(prompt), x_farthing_tier=tier)

    report = await run(FakeGateway(chats), suite(60, type="is-json"), cells)

    tiny = results(report)["tiny"]
    assert tiny.verdict is Verdict.UNDECIDED
    assert tiny.reason == "undecided: invalid: 20 of 20 outputs are not the JSON that was asked for"


async def test_a_null_content_is_an_empty_output(cells: CellStore) -> None:
    def silent(tier: str, prompt: str) -> Response:
        return completion(None if tier == "tiny" else prompt.replace("q", "a"), x_farthing_tier=tier)

    report = await run(FakeGateway(silent), suite(), cells)

    assert results(report)["tiny"].reason == "undecided: invalid: 20 of 20 outputs are empty"


async def test_items_of_one_document_are_one_piece_of_evidence(cells: CellStore) -> None:
    alone = suite(160)
    together = replace(
        alone, items=tuple(replace(item, cluster=f"d{number // 2}") for number, item in enumerate(alone.items))
    )
    fake = FakeGateway(right)

    report = await run(fake, together, cells, concurrency=1)

    tiny = results(report)["tiny"]
    assert tiny.verdict is Verdict.PASS
    assert fake.count("tiny") == 2 * tiny.evidence.items
    assert fake.count("large") == 2 * 20


async def test_a_judge_compares_with_what_the_reference_said_also_in_a_later_run(cells: CellStore) -> None:
    def reply(tier: str, prompt: str) -> Response:
        if tier == "judge":
            return completion(json.dumps({"reason": "r", "better": "A"}), x_farthing_tier=tier)
        return completion(f"{tier} on {prompt}", x_farthing_tier=tier)

    paired = replace(suite(60, bar=0.3, type="select-best"), judge=Judge(model="tier/judge"))
    cells.judges(now_ns=START_NS, oldest_ns=0).keep(standing_key(paired, MODELS), Standing(agreed=80, total=80))
    fake = FakeGateway(reply)

    first = await run(fake, paired, cells, budget=Nano(5_000_000))
    asked_of_large = fake.count("large")
    second = await run(fake, paired, cells)

    tiny = results(second)["tiny"]
    assert first.stopped
    assert {outcome.score for outcome in tiny.outcomes} == {0.5}  # the judge likes whatever stands first
    assert fake.count("large") == len(results(second)["large"].outcomes)
    assert asked_of_large >= 20


# --- what is asked ---------------------------------------------------------------------------------


async def test_each_question_is_pinned_to_its_tier_and_tagged(cells: CellStore) -> None:
    fake = FakeGateway(right)

    await run(fake, suite(), cells)

    body, headers = fake.asked[0]
    assert body["model"] == "tier/large"
    assert body["messages"][0]["content"].startswith("q")
    assert (body["max_tokens"], body["temperature"]) == (8, 0)
    assert headers["x-farthing-feature"] == "evals"
    assert headers["x-farthing-task"] == "counting"
    assert headers["x-farthing-run"] == "eval-7"
    assert "cache-control" not in headers


async def test_a_fresh_run_refuses_stored_answers(cells: CellStore) -> None:
    fake = FakeGateway(right)

    await run(fake, suite(), cells, fresh=True, feature="quality")

    assert {headers["cache-control"] for _, headers in fake.asked} == {"no-cache"}
    assert {headers["x-farthing-feature"] for _, headers in fake.asked} == {"quality"}


async def test_an_outcome_keeps_a_digest_of_the_answer_and_not_its_text(cells: CellStore) -> None:
    report = await run(FakeGateway(right), suite(), cells)

    outcome = results(report)["tiny"].outcomes[0]
    digests = {hashlib.sha256(f"a{number}".encode()).hexdigest() for number in range(60)}
    assert outcome.output == ""
    assert outcome.output_sha256 in digests
    assert outcome.item_hash in {item.hash for item in suite().items}
    assert (outcome.model, outcome.cost, outcome.cache) == ("m-1", 100_000, "miss")
    assert outcome.seconds > 0


async def test_the_text_is_kept_where_it_was_asked_for(cells: CellStore) -> None:
    report = await run(FakeGateway(right), suite(), cells, keep_outputs=True)

    texts = {outcome.output for outcome in results(report)["tiny"].outcomes}
    assert texts <= {f"a{number}" for number in range(60)} and len(texts) >= 20


async def test_a_text_that_is_not_unicode_can_be_kept(cells: CellStore) -> None:
    body = b'{"choices": [{"message": {"content": "\\ud800"}}]}'
    reply = Response(body, headers={"x-farthing-cost-usd": "0"})

    report = await run(FakeGateway(lambda tier, _: reply), suite(), cells, keep_outputs=True)

    assert results(report)["large"].outcomes[0].output == "?"


async def test_a_tier_that_the_catalogue_lacks_is_told_before_anything_is_asked(cells: CellStore) -> None:
    fake = FakeGateway(right)

    with pytest.raises(ConfigError, match=r"names tiers that config/routing.yaml does not have: large \(reference\)"):
        await run(fake, suite(), cells, models={"tiny": ()})

    assert fake.asked == []


# --- what is kept ----------------------------------------------------------------------------------


async def test_the_same_run_again_costs_nothing_and_says_the_same(cells: CellStore) -> None:
    fake = FakeGateway(right)
    first = await run(fake, suite(100, margin=0.1), cells)
    asked = len(fake.asked)

    again = await run(fake, suite(100, margin=0.1), cells, run_id="8", now_ns=START_NS + DAY_NS)

    assert len(fake.asked) == asked
    assert (first.cost, again.cost) == (asked * 100_000, 0)
    assert results(again)["tiny"].evidence == results(first)["tiny"].evidence
    assert [card.cost for card in again.scorecards()] == [card.cost for card in first.scorecards()]
    until = [card.valid_until_ns for card in first.scorecards()]
    assert [card.valid_until_ns for card in again.scorecards()] == until  # no older evidence lasts any longer


async def test_a_test_that_failed_is_not_drawn_again_while_its_answers_are_young(cells: CellStore) -> None:
    await run(FakeGateway(wrong_is("tiny")), suite(), cells)
    better_now = FakeGateway(right)

    again = await run(better_now, suite(), cells, now_ns=START_NS + 12 * DAY_NS)

    assert results(again)["tiny"].verdict is Verdict.FAIL
    assert results(again)["tiny"].is_replayed
    assert better_now.asked == []


@pytest.mark.parametrize(
    "change",
    [
        {"now_ns": START_NS + 13 * DAY_NS},
        {"models": MODELS | {"tiny": ("local/tiny-2",)}},
        {"not_before_ns": {"tiny": START_NS + DAY_NS // 2}},
    ],
)
async def test_time_another_model_or_a_demotion_begins_the_test_anew(cells: CellStore, change: dict[str, Any]) -> None:
    await run(FakeGateway(wrong_is("tiny")), suite(), cells)
    better_now = FakeGateway(right)

    again = await run(better_now, suite(), cells, **({"now_ns": START_NS + DAY_NS} | change))

    assert results(again)["tiny"].verdict is Verdict.PASS
    assert not results(again)["tiny"].is_replayed


async def test_answers_serve_another_suite_that_asks_the_same(cells: CellStore) -> None:
    fake = FakeGateway(right)
    await run(fake, suite(60), cells)
    asked = len(fake.asked)

    lower = await run(fake, suite(60, bar=0.75), cells)

    assert results(lower)["tiny"].verdict is Verdict.PASS
    assert len(fake.asked) <= asked + 5  # another order may begin with questions that were not asked yet


async def test_another_grader_grades_the_kept_texts_and_asks_nobody(cells: CellStore) -> None:
    fake = FakeGateway(right)
    await run(fake, suite(20, bar=0.5), cells, keep_outputs=True)
    asked = len(fake.asked)

    again = await run(fake, suite(20, bar=0.5, type="is-json"), cells)

    assert len(fake.asked) == asked
    assert {outcome.flaw for outcome in results(again)["large"].outcomes} == {"unparseable"}


async def test_a_revision_that_changed_under_the_name_begins_the_test_anew(cells: CellStore) -> None:
    def moved(fingerprint: str, *bad: str) -> Reply:
        def reply(tier: str, prompt: str) -> Response:
            text = prompt if tier in bad else prompt.replace("q", "a")
            return completion(text, fingerprint if tier == "tiny" else "of-large", x_farthing_tier=tier)

        return reply

    broke_off = FakeGateway(moved("old"))
    await run(broke_off, suite(200, bar=0.9), cells, budget=Nano(3_000_000))
    again = FakeGateway(moved("new"))

    report = await run(again, suite(200, bar=0.9), cells, now_ns=START_NS + DAY_NS)

    tiny = results(report)["tiny"]
    assert broke_off.count("tiny") == 10
    assert (tiny.verdict, tiny.fingerprints) == (Verdict.PASS, ("m-1 new",))
    assert again.count("tiny") == tiny.graded


# --- money and failures ----------------------------------------------------------------------------


async def test_the_budget_stops_a_run_before_it_is_passed_and_a_larger_one_goes_on(cells: CellStore) -> None:
    fake = FakeGateway(right)
    tested = suite(limits=Limits(budget_usd=Decimal("0.0025")))

    report = await run(fake, tested, cells)
    further = await run(fake, suite(), cells)

    assert results(report)["tiny"].verdict is Verdict.UNDECIDED
    assert report.cost == 2_500_000  # 20 answers of the reference and 5 of tiny, 0.0001 USD each
    assert report.stopped == "the budget of 0.0025 USD does not reach further"
    assert results(further)["tiny"].verdict is Verdict.PASS
    assert len(fake.asked) == 25 + further.cost // 100_000


async def test_a_spent_gateway_budget_stops_the_run_as_undecided(cells: CellStore) -> None:
    fake = FakeGateway(lambda tier, prompt: refusal(402, "budget_exceeded"))

    report = await run(fake, suite(), cells)

    assert report.stopped == "the gateway answered 402 budget_exceeded: Do this."
    assert [tier.verdict for tier in report.tiers] == [Verdict.UNDECIDED, Verdict.UNDECIDED]
    assert len(fake.asked) <= 2


@pytest.mark.parametrize(
    ("reply", "stopped"),
    [
        (lambda tier, _: refusal(401, "invalid_api_key"), "401 invalid_api_key"),
        (lambda tier, _: refusal(400, "unregistered_feature"), "400 unregistered_feature"),
        (lambda tier, _: completion("x", x_farthing_tier="tiny"), "tier large was asked, but tiny answered"),
        (lambda tier, _: completion("x", x_farthing_cache="semantic"), "turn semantic_cache off for feature evals"),
        (lambda tier, _: completion("x", x_farthing_cost_usd="free"), "no x-farthing-cost-usd in the answer"),
    ],
)
async def test_what_would_spoil_every_answer_stops_the_run_and_says_what_to_do(
    cells: CellStore, reply: Reply, stopped: str
) -> None:
    fake = FakeGateway(reply)

    report = await run(fake, suite(), cells)

    assert stopped in report.stopped
    assert report.tiers[0].verdict is Verdict.UNDECIDED
    assert len(fake.asked) <= 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (lambda: refusal(502, "upstream_error"), "upstream_error"),
        (lambda: refusal(400, "context_length_exceeded", "upstream"), "context_length_exceeded"),
        (lambda: JSONResponse({"choices": []}), "malformed_answer"),
        (lambda: JSONResponse([1], 500), "http_500"),
    ],
)
async def test_a_tier_that_keeps_failing_is_given_up_as_undecided(
    cells: CellStore, reply: Callable[[], Response], code: str
) -> None:
    fake = FakeGateway(lambda tier, prompt: reply() if tier == "tiny" else right(tier, prompt))

    report = await run(fake, suite(), cells)

    tiny = results(report)["tiny"]
    assert tiny.verdict is Verdict.UNDECIDED
    assert f"times {code}); run again to ask it again" in tiny.reason
    assert {outcome.error for outcome in tiny.outcomes} == {code}
    assert 3 <= fake.count("tiny") <= 6
    assert report.stopped == ""


async def test_an_item_without_an_answer_is_asked_again_and_what_follows_waits_for_it(cells: CellStore) -> None:
    third = suite().sample()[2].messages[0]["content"]
    asked: list[str] = []

    def hiccup(tier: str, prompt: str) -> Response:
        asked.append(prompt) if tier == "tiny" else None
        if tier == "tiny" and prompt == third and asked.count(third) < 3:
            return refusal(502, "upstream_error")
        return right(tier, prompt)

    report = await run(FakeGateway(hiccup), suite(), cells)

    assert results(report)["tiny"].verdict is Verdict.PASS
    assert asked.count(third) == 3
    assert {outcome.error for outcome in results(report)["tiny"].outcomes} == {""}


async def test_one_item_that_never_gets_an_answer_leaves_the_candidate_undecided(cells: CellStore) -> None:
    last = suite().sample()[10].messages[0]["content"]

    def drops_one(tier: str, prompt: str) -> Response:
        return refusal(502, "upstream_error") if (tier, prompt) == ("tiny", last) else right(tier, prompt)

    fake = FakeGateway(drops_one)
    report = await run(fake, suite(), cells)

    tiny = results(report)["tiny"]
    assert (tiny.verdict, tiny.evidence.items) == (Verdict.UNDECIDED, 10)
    assert fake.count("tiny") < 20  # nothing far behind it is paid for


async def test_a_gateway_that_cannot_be_reached_leaves_every_tier_undecided(cells: CellStore) -> None:
    options = RunOptions(run_id="7", models=MODELS, retry_pause_s=0)
    async with connect("http://127.0.0.1:9/v1", "key", timeout_s=5) as client:
        report = await run_suite(suite(), client, options, cells=cells, clock=TickingClock())

    assert "times unreachable" in report.tiers[0].reason


# --- cards and progress ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "options", "days"),
    [(Limits(max_age_s=60), {}, 60 / 86_400), (Limits(), {"valid_for_s": 30}, 30 / 86_400), (Limits(), {}, 14)],
)
async def test_a_verdict_lasts_from_its_oldest_answer_on_as_long_as_the_suite_or_else_the_run_says(
    cells: CellStore, limits: Limits, options: dict[str, Any], days: float
) -> None:
    report = await run(FakeGateway(right), suite(limits=limits), cells, **options)

    (until,) = {card.valid_until_ns for card in report.scorecards()}
    assert until is not None
    assert 0 < until - START_NS - days * DAY_NS < 1_000  # the clock of this test moves a nanosecond at each look


async def test_a_verdict_may_last_for_as_long_as_nothing_changes(cells: CellStore) -> None:
    report = await run(FakeGateway(right), suite(), cells, valid_for_s=None)

    assert {card.valid_until_ns for card in report.scorecards()} == {None}


async def test_the_cards_say_what_was_tested_and_how_sure_it_is(cells: CellStore) -> None:
    report = await run(FakeGateway(right), suite(200, margin=0.05), cells)

    card = report.scorecards()[0]
    assert (card.task, card.tier, card.verdict, card.models) == ("counting", "tiny", Verdict.PASS, ("local/tiny",))
    assert (card.score, card.bar, card.margin, card.reference) == (1.0, 0.8, 0.05, "large")
    assert (card.suite, card.suite_hash, card.run_id) == ("numbers", suite(200, margin=0.05).hash, "7")
    assert card.e_value >= card.e_needed == 20
    assert card.low < 1.0 == card.high
    assert card.difference == 0
    assert card.reason.startswith("promoted: e-value")
    assert all((card.prompt_hash, card.grader, card.rule))
    assert card.cost == len(results(report)["tiny"].outcomes) * 100_000


async def test_progress_hears_of_every_tier_call_and_standing(cells: CellStore) -> None:
    heard: list[str] = []

    class Listener:
        def began(self, tier: str, role: Role, items: int) -> None:
            heard.append(f"began {tier} {role} {items}")

        def asked(self, outcome: ItemOutcome) -> None:
            heard.append("asked")

        def stands(self, tier: str, pace: Pace, spent: Nano) -> None:
            heard.append(f"stands {tier} {pace.items} {spent}")

        def ended(self, result: TierResult) -> None:
            heard.append(f"ended {result.tier} {result.verdict}")

    await run(FakeGateway(wrong_is("tiny")), suite(20), cells, progress=Listener())

    assert heard[:2] == ["began large reference 20", "asked"]
    assert "stands tiny 10 3000000" in heard
    assert heard.count("asked") == 40
    assert "ended tiny fail" in heard


# --- what would still be asked -----------------------------------------------------------------------


def outlook(tested: Suite, cells: CellStore, *, now_ns: int = START_NS, **options: Any) -> dict[str, int]:
    given = RunOptions(**{"run_id": "8", "models": MODELS, **options})
    return {tier: len(items) for tier, items in lacking(tested, given, cells, now_ns).items()}


async def test_before_the_first_run_everything_would_be_asked(cells: CellStore) -> None:
    tested = suite(60, candidates=("small", "tiny"))

    assert outlook(tested, cells) == {"tiny": 60, "small": 60, "large": 60}
    assert outlook(tested, cells, only=frozenset({"small"}), first=20) == {"small": 60, "large": 60}


@pytest.mark.parametrize("bad", [(), ("tiny",)])
async def test_what_kept_answers_decide_is_not_asked_and_after_a_promotion_nobody_is(
    cells: CellStore, bad: tuple[str, ...]
) -> None:
    tested = suite(100, margin=0.1, candidates=("tiny", "small"))
    await run(FakeGateway(wrong_is(*bad)), tested, cells)

    assert outlook(tested, cells) == {"tiny": 0, "small": 0, "large": 0}
    assert outlook(tested, cells, now_ns=START_NS + 13 * DAY_NS) == {"tiny": 100, "small": 100, "large": 100}


async def test_an_interrupted_run_would_ask_what_is_left_of_it(cells: CellStore) -> None:
    fake = FakeGateway(right)
    await run(fake, suite(), cells, budget=Nano(2_500_000))

    assert outlook(suite(), cells) == {"tiny": 60 - fake.count("tiny"), "large": 40}
