"""Every way a request can end leaves exactly one record, in the ledger and in the metrics."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from farthing.record import CacheOutcome, Outcome
from farthing.usage import UsageSource
from tests.gateway import ADMIN_KEY, KEY, OTHER_KEY, RunningGateway, running_gateway
from tests.ledgers import Engine


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
async def either(tmp_path: Path, engine: Engine) -> AsyncIterator[RunningGateway]:
    """With books of each engine in turn, for what the books decide."""
    async with running_gateway(tmp_path, engine=engine) as running:
        yield running


async def test_a_success_is_priced_from_the_providers_usage(gateway: RunningGateway) -> None:
    response = await gateway.chat("one two three")

    record = gateway.record_of(response)
    usage = response.json()["usage"]
    # 1 USD per million tokens in, 2 out: nano-dollars are thousands of tokens.
    assert record.cost == usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000
    assert response.headers["x-farthing-cost-usd"] == f"{record.cost / 1e9:.9f}"
    assert (record.outcome, record.status, record.usage.source) == (Outcome.SUCCESS, 200, UsageSource.PROVIDER)
    assert (record.tags.tenant, record.tags.feature, record.tags.team) == ("acme", "chat", "web")
    assert [attempt.status for attempt in record.attempts] == [200]


async def test_ledger_and_metrics_agree_on_every_outcome(either: RunningGateway) -> None:
    await either.chat("first")
    await either.chat("first")
    await either.chat("x", model="mock-500")
    await either.chat("x", model="no-such-model")
    await either.chat("x", headers={"authorization": "Bearer wrong"})
    await either.chat("x" * 600, headers={"x-farthing-feature": "capped"}, max_tokens=1000)

    records = either.records()
    assert sorted(record.outcome.value for record in records) == [
        "hit",
        "refused",
        "rejected",
        "rejected",
        "success",
        "upstream_error",
    ]
    assert await either.metric("farthing_requests_total") == len(records)
    cost = sum(record.cost for record in records)
    assert await either.metric("farthing_cost_usd_total") == pytest.approx(cost / 1e9, abs=1e-12)


async def test_the_same_question_again_is_an_exact_hit_and_costs_nothing(either: RunningGateway) -> None:
    first = await either.chat("what is a farthing")

    second = await either.chat("what is a farthing")

    assert second.headers["x-farthing-cache"] == "exact"
    assert second.json()["choices"] == first.json()["choices"]
    assert second.json()["id"] != first.json()["id"]
    record = either.record_of(second)
    assert (record.outcome, record.cost, record.cache) == (Outcome.HIT, 0, CacheOutcome.EXACT)
    assert record.avoided_cache == either.record_of(first).cost


async def test_another_tenant_with_the_same_question_is_a_miss(gateway: RunningGateway) -> None:
    await gateway.chat("what is a farthing")

    other = await gateway.chat("what is a farthing", headers={"authorization": f"Bearer {OTHER_KEY}"})

    assert other.headers["x-farthing-cache"] == "miss"


async def test_a_streamed_answer_serves_a_plain_request_and_the_other_way_round(gateway: RunningGateway) -> None:
    streamed = await gateway.chat("streamed first", stream=True)
    plain = await gateway.chat("streamed first")
    await gateway.chat("plain first")
    replayed = await gateway.chat("plain first", stream=True)

    assert streamed.headers["x-farthing-cache"] == "miss"
    assert plain.headers["x-farthing-cache"] == replayed.headers["x-farthing-cache"] == "exact"
    assert plain.json()["choices"][0]["message"]["content"] == "echo: streamed first"
    assert replayed.text.endswith("data: [DONE]\n\n")
    assert "echo: plain first" in replayed.text


async def test_no_cache_asks_upstream_and_no_store_keeps_nothing(gateway: RunningGateway) -> None:
    await gateway.chat("q1")
    again = await gateway.chat("q1", headers={"cache-control": "no-cache"})
    await gateway.chat("q2", headers={"cache-control": "no-store"})
    after = await gateway.chat("q2")

    assert again.headers["x-farthing-cache"] == "bypass"
    assert after.headers["x-farthing-cache"] == "miss"


async def test_identical_concurrent_calls_make_one_upstream_call(either: RunningGateway) -> None:
    answers = await asyncio.gather(*(either.chat("together", model="mock-slow-first-byte") for _ in range(5)))

    assert len(either.mock.requests) == 1
    assert sorted(answer.headers["x-farthing-cache"] for answer in answers) == ["coalesced"] * 4 + ["miss"]


@pytest.mark.parametrize("model", ["mock-length", "mock-content-filter"])
async def test_a_truncated_or_filtered_answer_is_never_stored(gateway: RunningGateway, model: str) -> None:
    await gateway.chat("keep me not", model=model)

    again = await gateway.chat("keep me not", model=model)

    assert again.headers["x-farthing-cache"] == "miss"


async def test_a_refusal_over_the_cap_is_402_and_tells_clients_not_to_retry(either: RunningGateway) -> None:
    refused = await either.chat("x" * 600, headers={"x-farthing-feature": "capped"}, max_tokens=1000)

    assert refused.status_code == 402
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
    error = refused.json()["error"]
    assert (error["code"], error["type"], error["budget"]["id"]) == (
        "budget_exceeded",
        "insufficient_quota",
        "capped-day",
    )
    record = either.record_of(refused)
    assert (record.outcome, record.refused_by) == (Outcome.REFUSED, f"capped-day|{error['budget']['scope']}")
    assert not either.mock.requests


async def test_every_run_has_a_budget_of_its_own(either: RunningGateway) -> None:
    first = await either.chat("a", headers={"x-farthing-run": "run-1"}, max_tokens=200)
    spent = await either.chat("b" * 300, headers={"x-farthing-run": "run-1"}, max_tokens=200)
    other = await either.chat("b", headers={"x-farthing-run": "run-2"}, max_tokens=200)

    assert (first.status_code, spent.status_code, other.status_code) == (200, 402, 200)


async def test_a_cap_holds_under_a_burst(either: RunningGateway) -> None:
    answers = await asyncio.gather(
        *(either.chat(f"burst {n}", headers={"x-farthing-feature": "capped"}, max_tokens=50) for n in range(40))
    )

    assert {answer.status_code for answer in answers} == {200, 402}
    spent = sum(record.cost for record in either.records())
    assert spent <= 1_000_000


async def test_where_the_client_gave_no_cap_the_gateway_writes_one(gateway: RunningGateway) -> None:
    await gateway.chat("no cap")
    await gateway.chat("own cap", max_tokens=7)

    assert [request.json.get("max_tokens") for request in gateway.mock.requests] == [1024, 7]


async def test_unknown_fields_pass_through_untouched(gateway: RunningGateway) -> None:
    await gateway.chat("x", model="plain-model", top_k=3, vendor={"deep": [1.0, 2.50]}, max_tokens=5)

    sent = gateway.mock.requests[0]
    assert sent.json["top_k"] == 3
    assert b'"vendor":{"deep":[1.0,2.5]}' in sent.body.replace(b" ", b"")
    assert "authorization" not in sent.headers or KEY not in sent.headers["authorization"]


async def test_an_upstream_error_keeps_its_status_and_its_hints(gateway: RunningGateway) -> None:
    response = await gateway.chat("x", model="mock-429")

    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert response.headers["x-farthing-error-source"] == "upstream"
    assert "message" in response.json()["error"]
    record = gateway.record_of(response)
    assert (record.outcome, record.cost, record.error_code) == (Outcome.UPSTREAM_ERROR, 0, "upstream_429")


async def test_a_broken_html_answer_becomes_an_envelope(gateway: RunningGateway) -> None:
    response = await gateway.chat("x", model="mock-html-502")

    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_error"


@pytest.mark.parametrize(("model", "status"), [("mock-not-json", 502), ("mock-drop", 502)])
async def test_what_the_provider_may_have_billed_is_estimated(either: RunningGateway, model: str, status: int) -> None:
    response = await either.chat("some words here", model=model)

    record = either.record_of(response)
    assert response.status_code == record.status == status
    assert record.usage.source is UsageSource.ESTIMATED
    assert record.cost > 0


async def test_a_missing_usage_is_estimated_from_the_text(gateway: RunningGateway) -> None:
    response = await gateway.chat("no figures", model="mock-no-usage")

    record = gateway.record_of(response)
    assert record.usage.source is UsageSource.ESTIMATED
    assert record.usage.output_total > 0


async def test_failover_tries_the_next_deployment_and_notes_both(tmp_path: Path) -> None:
    models = {"twice": "[{provider: mock, model: mock-500, weight: 1000}, {provider: mock, model: plain-model}]"}
    async with running_gateway(tmp_path, models=models) as gateway:
        responses = [await gateway.chat(f"try {n}", model="twice") for n in range(6)]

        assert {response.status_code for response in responses} == {200}
        attempts = gateway.record_of(responses[0]).attempts
        assert [(attempt.status, attempt.error) for attempt in attempts] == [(500, "http_500"), (200, "")]
        # After five failures in a row the first one is left out, so later calls go straight to the second.
        assert [len(gateway.record_of(response).attempts) for response in responses] == [2, 2, 2, 2, 2, 1]


async def test_an_unreachable_provider_is_502_and_costs_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, models={"nowhere": "[{provider: dead, model: plain-model}]"}) as gateway:
        response = await gateway.chat("x", model="nowhere")

        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_unreachable"
        record = gateway.record_of(response)
        assert (record.cost, record.outcome) == (0, Outcome.UPSTREAM_ERROR)


async def test_an_unpriced_model_is_refused_naming_the_file_to_edit(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, models={"secret-model": "[{provider: mock, model: secret-model}]"}) as gateway:
        response = await gateway.chat("x", model="secret-model")

        assert response.status_code == 400
        assert response.json()["error"]["code"] == "unpriced_model"
        assert "prices.yaml" in response.json()["error"]["message"]
        assert not gateway.mock.requests
        assert await gateway.metric("farthing_unpriced_requests_total") == 1


async def test_models_are_listed_and_can_be_fetched_one_by_one(gateway: RunningGateway) -> None:
    listed = (await gateway.client.get("/v1/models")).json()
    one = await gateway.client.get("/v1/models/tier/small")
    none = await gateway.client.get("/v1/models/nothing")
    stranger = await gateway.client.get("/v1/models", headers={"authorization": "Bearer nobody"})

    assert {"auto", "tier/small", "small-model"} <= {model["id"] for model in listed["data"]}
    assert one.json()["id"] == "tier/small"
    assert (none.status_code, none.json()["error"]["code"]) == (404, "model_not_found")
    assert stranger.status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "plain-model", "prompt": "say"}),
        ("/v1/embeddings", {"model": "plain-model", "input": ["a", "b"]}),
        ("/v1/responses", {"model": "plain-model", "input": "say"}),
    ],
)
async def test_every_endpoint_is_priced_cached_and_recorded(
    gateway: RunningGateway, path: str, body: dict[str, object]
) -> None:
    first = await gateway.client.post(path, json=body)
    second = await gateway.client.post(path, json=body)

    assert (first.status_code, second.status_code) == (200, 200), first.text
    assert (first.headers["x-farthing-cache"], second.headers["x-farthing-cache"]) == ("miss", "exact")
    record = gateway.record_of(first)
    assert record.cost > 0
    assert record.endpoint == path.removeprefix("/v1/")


async def test_a_key_may_book_only_to_its_features(gateway: RunningGateway) -> None:
    headers = {"authorization": f"Bearer {OTHER_KEY}", "x-farthing-feature": "plain"}

    response = await gateway.chat("x", headers=headers)

    assert response.status_code == 403
    assert gateway.record_of(response).outcome is Outcome.REJECTED


async def test_tags_come_from_headers_then_metadata_then_the_key(gateway: RunningGateway) -> None:
    from_key = await gateway.chat("1")
    from_metadata = await gateway.chat("2", metadata={"feature": "plain", "run": "r1", "other": "kept"})
    from_header = await gateway.chat("3", metadata={"feature": "plain"}, headers={"x-farthing-feature": "capped"})

    features = [gateway.record_of(one).tags.feature for one in (from_key, from_metadata, from_header)]
    assert features == ["chat", "plain", "capped"]
    assert gateway.record_of(from_metadata).tags.run == "r1"
    assert gateway.record_of(from_key).tags.environment == "test"


async def test_an_unregistered_feature_is_refused_or_counted_by_config(gateway: RunningGateway) -> None:
    asked = {"x-farthing-feature": "nobody-knows"}
    refused = await gateway.chat("x", headers=asked)

    file = gateway.config / "farthing.yaml"
    file.write_text(file.read_text().replace("unregistered_features: refuse", "unregistered_features: count"))
    for _ in range(3):
        await gateway.application.house.tick()
    counted = await gateway.chat("x", headers=asked)

    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unregistered_feature")
    assert (counted.status_code, gateway.record_of(counted).tags.feature) == (200, "unregistered")
    assert "x-farthing-feature" not in refused.headers
    assert counted.headers["x-farthing-feature"] == "unregistered"


async def test_admin_sees_the_record_of_a_request(either: RunningGateway) -> None:
    response = await either.chat("x")

    path = f"/api/records/{response.headers['x-farthing-request-id']}"
    seen = await either.client.get(path, headers={"authorization": f"Bearer {ADMIN_KEY}"})
    hidden = await either.client.get(path)

    assert seen.status_code == 200
    assert hidden.status_code in (401, 403)


async def stream_lines(gateway: RunningGateway, content: str, **body: object) -> tuple[httpx.Response, list[str]]:
    response = await gateway.chat(content, stream=True, **body)
    return response, [line for line in response.text.split("\n\n") if line]


async def test_a_stream_is_relayed_whole_and_priced(either: RunningGateway) -> None:
    response, lines = await stream_lines(either, "hello stream")

    assert lines[-1] == "data: [DONE]"
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "x-farthing-cost-usd" not in response.headers
    record = either.record_of(response)
    assert (record.outcome, record.usage.source) == (Outcome.SUCCESS, UsageSource.PROVIDER)
    assert record.first_byte_seconds is not None
    assert either.mock.requests[0].json["stream_options"] == {"include_usage": True}


async def test_the_usage_chunk_is_hidden_from_a_client_that_did_not_ask(gateway: RunningGateway) -> None:
    _, unasked = await stream_lines(gateway, "unasked")
    _, asked = await stream_lines(gateway, "asked", stream_options={"include_usage": True})

    assert not any('"choices":[]' in line for line in unasked)
    assert sum('"choices":[]' in line for line in asked) == 1


@pytest.mark.parametrize("model", ["mock-cut", "mock-error-in-stream", "mock-stall"])
async def test_a_stream_that_breaks_ends_with_an_error_and_no_done(either: RunningGateway, model: str) -> None:
    response, lines = await stream_lines(either, "long enough to be cut", model=model)

    assert '"error"' in lines[-1]
    assert "[DONE]" not in response.text
    record = either.record_of(response)
    assert record.outcome is Outcome.UPSTREAM_ERROR
    assert record.cost > 0


async def test_a_missing_done_is_added_after_a_finish_reason(gateway: RunningGateway) -> None:
    _, lines = await stream_lines(gateway, "x", model="mock-no-done")

    assert lines[-1] == "data: [DONE]"


async def test_usage_beside_a_choice_is_read_and_passed_on(gateway: RunningGateway) -> None:
    response, lines = await stream_lines(gateway, "x", model="mock-usage-beside-choice")

    assert gateway.record_of(response).usage.source is UsageSource.PROVIDER
    assert any('"usage":{' in line for line in lines)


async def test_a_responses_stream_is_relayed_and_priced(gateway: RunningGateway) -> None:
    body = {"model": "plain-model", "input": "say", "stream": True}

    response = await gateway.client.post("/v1/responses", json=body)

    assert "event: response.completed" in response.text
    record = gateway.record_of(response)
    assert (record.outcome, record.usage.source) == (Outcome.SUCCESS, UsageSource.PROVIDER)
