"""Cascades: a cheap answer that passes its check is given, another one is replaced, and both are on the books once."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from farthing.call import Endpoint
from farthing.catalog import AnswerCheck, Deployment, PolicyRule, Step
from farthing.money import Nano, format_usd
from farthing.record import CacheOutcome, Outcome
from gateway.admission import admit
from gateway.story import charges, tell
from gateway.thresholds import Reached
from gateway.upstreams.testing import Ending, Scripted, ScriptedAnswer, ScriptedUpstream
from ledger.adjustments import priced_part
from tests.scripted_pipeline import (
    CHAT,
    LARGE,
    SMALL,
    TRIAGE,
    Stair,
    chunk,
    completion,
    frames,
    plain,
    stream,
    usage,
    usage_chunk,
)

CASCADE = replace(CHAT, policy="cascade", rule=PolicyRule(kind="cascade"), tier="", task="triage", exact_cache=False)
PLAIN = AnswerCheck()
CHEAP = 10 * 1000 + 5 * 2000
"""Nano-dollars of 10 tokens in and 5 out at the small tier, 1 and 2 USD a million."""
DEAR = 10 * 10_000 + 5 * 20_000
"""The same at the large one, 10 and 20."""
GOOD = completion("Paris.", usage=usage(10, 5))
REFUSAL = completion("I'm sorry, but I can't help with that.", usage=usage(10, 5))
SAID = frames(chunk("Par"), chunk("is."), chunk(finish="stop"), usage_chunk(10, 5))


def stair(check: AnswerCheck = PLAIN, **changes: Any) -> Stair:
    task = replace(TRIAGE, candidates=("small",), check=check)
    return Stair(**{"feature": CASCADE, "task": task, **changes}).open()


class Waiting(ScriptedUpstream):
    """Answers when it may."""

    def __init__(self, *script: Scripted) -> None:
        super().__init__(*script)
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> ScriptedAnswer:
        self.asked.set()
        await self.may_answer.wait()
        return await super().send(deployment, operation, body, stream=stream)


def text_of(raw: bytes) -> str:
    return str(orjson.loads(raw)["choices"][0]["message"]["content"])


def models_asked(built: Stair) -> list[str]:
    return [sent.deployment.model for sent in built.upstream.sent]


async def test_a_cheap_answer_that_passes_its_check_is_given() -> None:
    built = stair()
    built.upstream.add(plain(GOOD))

    answer, raw = await built.ask(max_tokens=50)

    headers = dict(answer.headers)
    assert (answer.status, text_of(raw)) == (200, "Paris.")
    assert headers[b"x-farthing-tier"] == b"small"
    assert headers[b"x-farthing-route"] == b"cascade: small answered first, and passed its check"
    record = built.record
    assert (record.tier, record.policy, record.cost) == ("small", "cascade", CHEAP)
    assert record.avoided_routing == DEAR - CHEAP
    assert models_asked(built) == [SMALL]


async def test_an_answer_that_fails_its_check_is_replaced_and_both_are_on_the_books_once() -> None:
    built = stair()
    built.upstream.add(plain(REFUSAL), plain(GOOD))

    answer, raw = await built.ask(max_tokens=50)

    headers = dict(answer.headers)
    assert (answer.status, text_of(raw)) == (200, "Paris.")
    assert headers[b"x-farthing-tier"] == b"large"
    assert headers[b"x-farthing-route"] == b"cascade: small failed its check (refusal), escalated to large"
    assert headers[b"x-farthing-cost-usd"] == format_usd(Nano(CHEAP + DEAR)).encode()
    record = built.record
    assert (record.tier, record.outcome, record.cost) == ("large", Outcome.SUCCESS, CHEAP + DEAR)
    assert record.route_reason.encode() == headers[b"x-farthing-route"]
    assert [(one.deployment, one.error, one.cost) for one in record.attempts] == [
        ("one/small-model", "check_refusal", CHEAP),
        ("one/large-model", "", DEAR),
    ]
    assert sum(built.ledger.spent.values()) == CHEAP + DEAR
    assert record.avoided_routing == -CHEAP
    assert priced_part(record) == DEAR


async def test_the_story_and_the_bill_of_a_call_tell_of_both_answers() -> None:
    built = stair()
    built.upstream.add(plain(REFUSAL), plain(GOOD))
    await built.ask(max_tokens=50)

    told, lines = " ".join(tell(built.record)), charges(built.record)

    assert "Policy 'cascade' chose tier 'large': cascade: small failed its check (refusal)" in told
    assert "Attempts that failed: one/small-model (check_refusal, billed 0.000020000 USD)" in told
    assert [(line.name, line.amount) for line in lines][-1] == (
        "attempt at one/small-model that failed",
        "0.000020000",
    )


@pytest.mark.parametrize(
    ("check", "content", "finish", "fault"),
    [
        (AnswerCheck(), "Par", "length", "length"),
        (AnswerCheck(), "", "stop", "empty"),
        (AnswerCheck(json=True), "Paris", "stop", "json"),
        (AnswerCheck(regex="^Rome"), "Paris", "stop", "regex"),
        (AnswerCheck(min_chars=9), "Paris", "stop", "short"),
        (AnswerCheck(max_chars=2), "Paris", "stop", "long"),
    ],
)
async def test_each_check_of_a_task_escalates(check: AnswerCheck, content: str, finish: str, fault: str) -> None:
    built = stair(check)
    first = completion(content, usage=usage(10, 5))
    first["choices"][0]["finish_reason"] = finish
    built.upstream.add(plain(first), plain(GOOD))

    answer, _ = await built.ask(max_tokens=50)

    told = f"cascade: small failed its check ({fault}), escalated to large"
    assert dict(answer.headers)[b"x-farthing-route"].decode() == told
    assert built.escalated == [("triage", "small", fault)]


async def test_a_schema_that_the_request_asks_for_is_checked() -> None:
    built = stair()
    built.upstream.add(plain(completion('{"city": 7}', usage=usage(10, 5))), plain(GOOD))
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}

    await built.ask(
        max_tokens=50, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    )

    assert built.record.attempts[0].error == "check_schema"


async def test_a_stream_that_passes_comes_as_a_stream_after_it_was_seen_as_a_whole() -> None:
    built = stair()
    built.upstream.add(plain(GOOD))

    answer, raw = await built.ask(max_tokens=50, stream=True, stream_options={"include_usage": True})

    assert dict(answer.headers)[b"content-type"].startswith(b"text/event-stream")
    assert b"Paris." in raw
    assert b'"prompt_tokens":10' in raw
    assert raw.endswith(b"data: [DONE]\n\n")
    (sent,) = built.upstream.sent
    assert not sent.stream
    assert {name: orjson.loads(sent.body)[name] for name in ("stream", "stream_options")} == {
        "stream": False,
        "stream_options": None,
    }
    assert (built.record.stream, built.record.cost) == (True, CHEAP)


async def test_a_stream_whose_first_answer_fails_streams_that_of_the_next_tier() -> None:
    built = stair()
    built.upstream.add(plain(REFUSAL), stream(*SAID))

    answer, raw = await built.ask(max_tokens=50, stream=True)

    assert dict(answer.headers)[b"x-farthing-tier"] == b"large"
    assert b"sorry" not in raw
    assert raw.endswith(b"data: [DONE]\n\n")
    assert [sent.stream for sent in built.upstream.sent] == [False, True]
    assert (built.record.cost, built.record.outcome) == (CHEAP + DEAR, Outcome.SUCCESS)


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (plain({"error": {"message": "no"}}, 500), "http_500"),
        (plain({"error": {"message": "too long"}}, 400), "http_400"),
        (Scripted(ending=Ending.REFUSED), "upstream_unreachable"),
        (plain("nonsense"), "check_error"),
    ],
)
async def test_a_first_tier_that_gives_no_answer_is_passed_over(first: Scripted, error: str) -> None:
    built = stair()
    built.upstream.add(first, plain(GOOD))

    answer, _ = await built.ask(max_tokens=50)

    assert answer.status == 200
    assert dict(answer.headers)[b"x-farthing-route"] == b"cascade: small gave no answer, escalated to large"
    assert built.record.attempts[0].error == error
    assert built.record.cost == sum(built.ledger.spent.values())


async def test_where_both_tiers_fail_the_error_of_the_second_is_told_and_both_are_charged() -> None:
    built = stair()
    built.upstream.add(plain(REFUSAL), plain({"error": {"message": "no"}}, 500))

    answer, _ = await built.ask(max_tokens=50)

    assert answer.status == 500
    assert (built.record.outcome, built.record.cost) == (Outcome.UPSTREAM_ERROR, CHEAP)


async def test_what_one_answer_costs_at_most_is_held_and_no_more_unless_the_check_fails() -> None:
    small_only = 50 * 2000 + 200 * 1000
    built = stair(limit=Nano(small_only))
    built.upstream.add(plain(GOOD))

    answer, _ = await built.ask(max_tokens=50)

    assert answer.status == 200


async def test_where_no_money_is_left_for_the_better_answer_the_cheap_one_is_given_and_marked() -> None:
    built = stair(limit=Nano(50 * 2000 + 200 * 1000))
    built.upstream.add(plain(REFUSAL))

    answer, raw = await built.ask(max_tokens=50)

    headers = dict(answer.headers)
    assert (answer.status, headers[b"x-farthing-check"]) == (200, b"refusal")
    assert b"sorry" in raw
    told = b"cascade: small failed its check (refusal), and large cannot be paid for"
    assert headers[b"x-farthing-route"] == told
    record = built.record
    assert (record.outcome, record.cost, record.refused_by) == (Outcome.SUCCESS, CHEAP, "")
    assert built.escalated == []


async def test_where_there_is_neither_an_answer_nor_money_the_call_is_refused() -> None:
    built = stair(limit=Nano(50 * 2000 + 200 * 1000))
    built.upstream.add(Scripted(ending=Ending.REFUSED))

    answer, _ = await built.ask(max_tokens=50)

    assert answer.status == 402
    assert built.record.cost == 0


async def test_an_escalated_answer_is_cached_and_one_that_failed_its_check_is_not() -> None:
    cached = replace(CASCADE, exact_cache=True)
    built = stair(feature=cached)
    built.upstream.add(plain(REFUSAL), plain(GOOD))
    await built.ask(max_tokens=50)

    hit, raw = await built.ask(max_tokens=50)
    poor = stair(feature=cached, limit=Nano(50 * 2000 + 200 * 1000))
    poor.upstream.add(plain(REFUSAL), plain(GOOD))
    await poor.ask(max_tokens=50)
    fresh, _ = await poor.ask(max_tokens=50)

    assert dict(hit.headers)[b"x-farthing-cache"] == CacheOutcome.EXACT.encode()
    assert dict(hit.headers)[b"x-farthing-tier"] == b"large"
    assert text_of(raw) == "Paris."
    assert dict(fresh.headers)[b"x-farthing-cache"] == CacheOutcome.MISS.encode()


async def test_a_client_that_leaves_during_the_first_answer_is_charged_for_it_and_for_no_other() -> None:
    upstream = Waiting(plain(REFUSAL))
    built = stair(upstream=upstream)

    asked = asyncio.get_running_loop().create_task(built.ask(max_tokens=50, stream=True))
    await upstream.asked.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    upstream.may_answer.set()
    await built.runtime.drains.settle()

    assert models_asked(built) == [SMALL]
    assert (built.record.outcome, built.record.cost) == (Outcome.ABORTED, CHEAP)


async def test_embeddings_are_not_checked() -> None:
    built = stair()
    vectors = {"object": "list", "data": [{"index": 0, "embedding": [0.1]}], "usage": {"prompt_tokens": 3}}
    built.upstream.add(plain(vectors))

    await built.ask(Endpoint.EMBEDDINGS, input="hello")

    assert models_asked(built) == [LARGE]


async def test_a_call_without_a_task_is_answered_by_the_default_tier_at_once() -> None:
    built = stair(feature=replace(CASCADE, task=""))
    built.upstream.add(plain(GOOD))

    await built.ask(max_tokens=50)

    assert models_asked(built) == [LARGE]


async def test_the_deployments_of_both_tiers_and_the_check_are_part_of_the_cache_key() -> None:
    def partition(built: Stair) -> str:
        generation = built.runtime.generation
        (key,) = generation.keys.values()
        call = admit(built.request(), key, generation.catalog, count_unregistered=False)
        return generation.destinations.find(call, CASCADE, built.task).partition

    base = stair()
    other = (Deployment(name="c", provider=base.large[0].provider, model="another-model"),)

    built = (base, stair(large=other), stair(small=other), stair(AnswerCheck(json=True)))

    assert len({partition(one) for one in built}) == 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", [GOOD, REFUSAL])
async def test_identical_calls_at_once_share_what_the_cascade_gives(first: dict[str, Any], stream: bool) -> None:
    upstream = Waiting(plain(first), stream_or_plain(stream))
    built = stair(upstream=upstream, feature=replace(CASCADE, exact_cache=True))

    asked = [asyncio.get_running_loop().create_task(built.ask(max_tokens=50, stream=stream)) for _ in range(4)]
    await upstream.asked.wait()
    await asyncio.sleep(0)
    upstream.may_answer.set()
    answers = await asyncio.gather(*asked)

    assert len(built.upstream.sent) == (1 if first is GOOD else 2)
    assert all(b"Par" in raw and b"sorry" not in raw for _, raw in answers)
    assert sum(record.cost for record in built.records) == CHEAP + (0 if first is GOOD else DEAR)
    assert sum(built.ledger.held.values()) == 0


def stream_or_plain(streamed: bool) -> Scripted:
    return stream(*SAID) if streamed else plain(GOOD)


async def test_callers_who_waited_for_an_answer_that_failed_its_check_go_alone() -> None:
    upstream = Waiting(plain(REFUSAL), plain(REFUSAL))
    built = stair(
        upstream=upstream, feature=replace(CASCADE, exact_cache=True), limit=Nano(2 * (50 * 2000 + 200 * 1000))
    )

    asked = [asyncio.get_running_loop().create_task(built.ask(max_tokens=50)) for _ in range(2)]
    await upstream.asked.wait()
    upstream.may_answer.set()
    answers = await asyncio.gather(*asked)

    assert {dict(answer.headers)[b"x-farthing-check"] for answer, _ in answers} == {b"refusal"}
    assert [record.cost for record in built.records] == [CHEAP, CHEAP]


async def test_a_first_answer_that_breaks_off_is_charged_for_its_input_and_the_next_tier_answers() -> None:
    built = stair()
    built.upstream.add(replace(plain(GOOD), ending=Ending.CUT), plain(GOOD))

    answer, _ = await built.ask(max_tokens=50)

    record = built.record
    assert (answer.status, record.tier) == (200, "large")
    assert record.attempts[0].error == "check_error"
    assert 0 < record.attempts[0].cost < CHEAP
    assert record.cost == record.attempts[0].cost + DEAR


async def test_a_first_tier_that_does_not_answer_in_time_is_charged_for_all_that_it_may_have_made() -> None:
    built = stair()
    built.upstream.add(Scripted(ending=Ending.SILENT), plain(GOOD))

    answer, _ = await built.ask(max_tokens=50)

    record = built.record
    assert (answer.status, record.attempts[0].error) == (200, "upstream_timeout")
    assert record.attempts[0].cost >= 50 * 2000
    assert record.cost == sum(attempt.cost for attempt in record.attempts)


async def test_a_budget_that_asks_for_a_cheaper_tier_ends_the_cascade_where_one_has_passed() -> None:
    built = stair()
    destinations = built.runtime.generation.destinations
    (key,) = built.runtime.generation.keys.values()
    call = admit(built.request(), key, built.runtime.generation.catalog, count_unregistered=False)
    cascade = destinations.find(call, CASCADE, built.task)

    reached = Reached(budget="all", percent="95%", do=Step.CHEAPEST)
    lowered = destinations.lower(cascade, CASCADE, built.task, reached)

    assert lowered.reason.startswith("budget all at 95%: cheapest, no cheaper tier has a valid pass; cascade: ")
    assert lowered.partition == cascade.partition
    assert lowered.escalation is not None
    assert not (lowered.fails_over or lowered.escalation.fails_over)


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "m",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Paris.", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
}
CUT = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


@pytest.mark.parametrize("streamed", [False, True])
async def test_responses_have_cascades_too(streamed: bool) -> None:
    good, cut = stair(), stair()
    good.upstream.add(plain(RESPONSE))
    cut.upstream.add(plain(CUT), plain(RESPONSE))

    answer, raw = await good.ask(Endpoint.RESPONSES, input="hello", max_output_tokens=50, stream=streamed)
    after, _ = await cut.ask(Endpoint.RESPONSES, input="hello", max_output_tokens=50)

    assert b"Paris." in raw
    assert (b"event: response.completed" in raw) is streamed
    assert dict(answer.headers)[b"x-farthing-tier"] == b"small"
    assert good.record.cost == CHEAP
    assert cut.record.attempts[0].error == "check_length"
    assert dict(after.headers)[b"x-farthing-tier"] == b"large"


async def test_legacy_completions_have_cascades_too() -> None:
    built = stair()
    choice = {"index": 0, "text": "Paris.", "finish_reason": "stop", "logprobs": None}
    said = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    built.upstream.add(plain({**said, "usage": usage(10, 5)}))

    answer, raw = await built.ask(Endpoint.COMPLETIONS, prompt="hello", max_tokens=50, stream=True)

    assert b"Paris." in raw
    assert dict(answer.headers)[b"x-farthing-tier"] == b"small"


async def test_tool_calls_pass_where_their_arguments_are_json() -> None:
    good, bad = stair(), stair()
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city": "Paris"}'}}
    broken = {**call, "function": {"name": "f", "arguments": '{"city": '}}
    for built, one in ((good, call), (bad, broken)):
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": None, "tool_calls": [one]},
            "finish_reason": "tool_calls",
        }
        built.upstream.add(plain({**GOOD, "choices": [choice]}), plain(GOOD))

    _, raw = await good.ask(max_tokens=50, stream=True)
    await bad.ask(max_tokens=50)

    assert b"call_1" in raw
    assert good.record.tier == "small"
    assert bad.record.attempts[0].error == "check_json"
