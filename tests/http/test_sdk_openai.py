"""The contract with the official `openai` package: what it parses, what it raises, and what it retries."""

import base64
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateway import KEY, RunningGateway
from tests.http.hostile import hostile_gateway

openai = pytest.importorskip("openai")

pytestmark = pytest.mark.asyncio(loop_scope="module")
MESSAGES = [{"role": "user", "content": "say something"}]
SENT_BY_ITSELF = 1
RETRIED = 3
"""Requests that the SDK makes of one failing call: the first and max_retries = 2."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    async with hostile_gateway(tmp_path_factory.mktemp("sdk")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(gateway: RunningGateway) -> AsyncIterator["openai.AsyncOpenAI"]:
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY) as client:
        yield client


async def test_a_chat_is_parsed_with_its_usage(sdk: "openai.AsyncOpenAI") -> None:
    answer = await sdk.chat.completions.create(model="auto", messages=MESSAGES)

    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_raw_headers_tell_how_the_answer_came_about(sdk: "openai.AsyncOpenAI") -> None:
    raw = await sdk.chat.completions.with_raw_response.create(model="auto", messages=MESSAGES, seed=1)

    assert raw.headers["x-farthing-tier"] == "large"
    assert raw.headers["x-farthing-cache"] == "miss"
    assert float(raw.headers["x-farthing-cost-usd"]) > 0
    assert raw.parse()._request_id == raw.headers["x-farthing-request-id"]


async def test_tags_go_in_as_extra_headers_or_metadata(gateway: RunningGateway, sdk: "openai.AsyncOpenAI") -> None:
    with_header = await sdk.chat.completions.with_raw_response.create(
        model="auto", messages=MESSAGES, extra_headers={"x-farthing-feature": "plain"}
    )
    with_metadata = await sdk.chat.completions.with_raw_response.create(
        model="auto", messages=MESSAGES, metadata={"feature": "plain"}, extra_body={"top_k": 3}
    )

    assert [raw.headers["x-farthing-feature"] for raw in (with_header, with_metadata)] == ["plain", "plain"]
    assert gateway.mock.requests[-1].json["top_k"] == 3


async def test_a_stream_arrives_and_ends_with_usage_only_if_asked(sdk: "openai.AsyncOpenAI") -> None:
    async def chunks(**members: object) -> list["openai.types.chat.ChatCompletionChunk"]:
        return [
            chunk
            async for chunk in await sdk.chat.completions.create(
                model="auto", messages=MESSAGES, stream=True, **members
            )
        ]

    unasked = await chunks()
    asked = await chunks(stream_options={"include_usage": True}, seed=2)

    assert all(chunk.choices for chunk in unasked), "clients index choices[0]"
    assert unasked[-1].choices[0].finish_reason == "stop"
    assert (asked[-1].choices, asked[-1].usage.completion_tokens > 0) == ([], True)


async def test_a_hit_is_replayed_as_a_stream_the_sdk_reads(sdk: "openai.AsyncOpenAI") -> None:
    plain = await sdk.chat.completions.create(model="auto", messages=MESSAGES, seed=3)

    raw = await sdk.chat.completions.with_raw_response.create(
        model="auto", messages=MESSAGES, seed=3, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in raw.parse()]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert raw.headers["x-farthing-cache"] == "exact"
    assert text == plain.choices[0].message.content
    assert chunks[-1].usage.total_tokens == plain.usage.total_tokens


async def test_the_streaming_helper_assembles_the_same_answer(sdk: "openai.AsyncOpenAI") -> None:
    async with sdk.chat.completions.stream(model="auto", messages=MESSAGES, seed=4) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()

    again = await sdk.chat.completions.create(model="auto", messages=MESSAGES, seed=4)
    assert final.choices[0].message.content == again.choices[0].message.content


async def test_legacy_completions_are_parsed(sdk: "openai.AsyncOpenAI") -> None:
    answer = await sdk.completions.create(model="plain-model", prompt="say")
    stream = await sdk.completions.create(model="plain-model", prompt="say on", stream=True)

    assert answer.choices[0].text
    assert "".join([chunk.choices[0].text async for chunk in stream])


async def test_a_response_is_parsed_plain_and_streamed(sdk: "openai.AsyncOpenAI") -> None:
    plain = await sdk.responses.create(model="plain-model", input="say")
    events = [event async for event in await sdk.responses.create(model="plain-model", input="say more", stream=True)]

    assert plain.output_text
    assert plain.usage.output_tokens > 0
    assert events[0].type == "response.created"
    assert (events[-1].type, bool(events[-1].response.output_text)) == ("response.completed", True)


async def test_a_response_from_the_cache_streams_its_events_in_order(sdk: "openai.AsyncOpenAI") -> None:
    plain = await sdk.responses.create(model="plain-model", input="say it twice")

    async with sdk.responses.stream(model="plain-model", input="say it twice") as stream:
        numbers = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()

    assert numbers == sorted(numbers)
    assert final.output_text == plain.output_text


async def test_embeddings_are_equal_as_base64_and_as_floats(gateway: RunningGateway, sdk: "openai.AsyncOpenAI") -> None:
    by_default = await sdk.embeddings.create(model="plain-model", input=["one", "two"])
    sent = gateway.mock.requests[-1].json
    floats = await sdk.embeddings.create(model="plain-model", input=["one", "two"], encoding_format="float")
    packed = await gateway.client.post(
        "/v1/embeddings", json={"model": "plain-model", "input": ["one", "two"], "encoding_format": "base64"}
    )

    assert sent["encoding_format"] == "base64"
    data = base64.b64decode(packed.json()["data"][0]["embedding"])
    unpacked = list(struct.unpack(f"<{len(data) // 4}f", data))
    assert by_default.data[0].embedding == pytest.approx(unpacked)
    assert floats.data[0].embedding == pytest.approx(unpacked, abs=1e-6)
    assert [item.index for item in by_default.data] == [0, 1]


@pytest.mark.parametrize("given", ["text", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
async def test_embeddings_take_texts_and_token_ids(sdk: "openai.AsyncOpenAI", given: object) -> None:
    answer = await sdk.embeddings.create(model="plain-model", input=given)

    assert answer.data


async def test_models_are_listed_and_retrieved_also_with_slashes(sdk: "openai.AsyncOpenAI") -> None:
    listed = [model.id async for model in await sdk.models.list()]

    assert {"auto", "tier/large", "plain-model"} <= set(listed)
    for name in listed:
        assert (await sdk.models.retrieve(name)).id == name
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("tier/none")


REFUSALS = [
    ({"messages": []}, 400, openai.BadRequestError, "invalid_parameter"),
    ({"model": "no-such-model"}, 404, openai.NotFoundError, "model_not_found"),
    ({"extra_headers": {"x-farthing-feature": "none"}}, 400, openai.BadRequestError, "unregistered_feature"),
    ({"extra_headers": {"authorization": "Bearer no"}}, 401, openai.AuthenticationError, "invalid_api_key"),
    ({"extra_headers": {"x-farthing-feature": "capped"}}, 402, openai.APIStatusError, "budget_exceeded"),
    ({"model": "mock-400"}, 400, openai.BadRequestError, None),
    ({"model": "mock-401"}, 401, openai.AuthenticationError, "invalid_api_key"),
]


@pytest.mark.parametrize(("members", "status", "kind", "code"), REFUSALS, ids=lambda value: str(value)[:30])
async def test_what_cannot_succeed_is_raised_and_never_retried(
    gateway: RunningGateway,
    sdk: "openai.AsyncOpenAI",
    members: dict[str, object],
    status: int,
    kind: type[Exception],
    code: str | None,
) -> None:
    booked, sent = len(gateway.records()), len(gateway.mock.requests)
    with pytest.raises(kind) as caught:
        await sdk.chat.completions.create(**{"model": "plain-model", "messages": MESSAGES, **members})

    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.request_id.startswith("req-")
    assert len(gateway.records()) - booked == SENT_BY_ITSELF
    assert len(gateway.mock.requests) - sent == int(str(members.get("model")).startswith("mock-"))


@pytest.mark.parametrize(
    ("model", "kind"), [("mock-429", openai.RateLimitError), ("mock-503", openai.InternalServerError)]
)
async def test_what_may_succeed_later_is_retried_by_the_sdk_alone(
    gateway: RunningGateway, sdk: "openai.AsyncOpenAI", model: str, kind: type[Exception]
) -> None:
    booked, sent = len(gateway.records()), len(gateway.mock.requests)
    with pytest.raises(kind):
        # Its patience is cut short: the mock asks for a second before each retry.
        await hurried(sdk).chat.completions.create(model=model, messages=MESSAGES)

    assert len(gateway.records()) - booked == len(gateway.mock.requests) - sent == RETRIED


def hurried(sdk: "openai.AsyncOpenAI") -> "openai.AsyncOpenAI":
    """The same client, which waits for no retry."""

    class Hurried(openai.AsyncOpenAI):
        def _calculate_retry_timeout(self, *_: object, **__: object) -> float:
            return 0.0

    return Hurried(base_url=sdk.base_url, api_key=sdk.api_key, http_client=sdk._client)


@pytest.mark.parametrize("model", ["mock-error-in-stream", "mock-cut"])
async def test_a_stream_that_breaks_raises(sdk: "openai.AsyncOpenAI", model: str) -> None:
    stream = await sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True)

    with pytest.raises(openai.APIError):
        async for _ in stream:
            pass


@pytest.mark.parametrize("model", ["mock-error-in-stream", "mock-cut"])
async def test_a_responses_stream_that_breaks_says_so(sdk: "openai.AsyncOpenAI", model: str) -> None:
    stream = await sdk.responses.create(model=model, input="say", stream=True)

    events = []
    try:
        async for event in stream:
            events.append(event.type)  # noqa: PERF401 - those before the error count
    except openai.APIError:
        events.append("error")
    assert events[-1] == "error"
    assert "response.completed" not in events


async def test_a_large_body_raises_413_rather_than_a_lost_connection(sdk: "openai.AsyncOpenAI") -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await sdk.chat.completions.create(model="auto", messages=[{"role": "user", "content": "x" * 10_000_000}])

    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
