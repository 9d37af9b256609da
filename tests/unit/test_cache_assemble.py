"""Assemblers: the plain answer out of a stream, or nothing."""

import csv
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from cache.assemble import MAX_CHARACTERS, Assembler, assembler
from farthing.call import Endpoint

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "sse" / "pydantic-ai"
HEAD = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 17,
    "model": "small-1",
    "system_fingerprint": "fp",
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def _chunk(delta: Any, finish_reason: str | None = None, *, index: int = 0, **members: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**HEAD, "choices": [choice], "usage": None, **members}


def _fed(*events: Any, endpoint: Endpoint = Endpoint.CHAT, choices: int = 1) -> Assembler:
    made = assembler(endpoint, choices=choices)
    for event in events:
        made.feed(event)
    return made


def _body(*events: Any, **options: Any) -> Any:
    body = _fed(*events, **options).body()
    return None if body is None else orjson.loads(body)


ROLE = _chunk({"role": "assistant", "content": "", "refusal": None})
END = _chunk({}, "stop")


def test_a_stream_becomes_exactly_the_plain_answer() -> None:
    usage = {**HEAD, "choices": [], "usage": USAGE, "service_tier": "default"}

    body = _body(ROLE, _chunk({"content": "Par"}), _chunk({"content": "is."}), END, usage)

    assert body == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 17,
        "model": "small-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        "system_fingerprint": "fp",
        "service_tier": "default",
    }
    ChatCompletion.model_validate(body)


def test_everything_is_counted_on_the_way() -> None:
    made = _fed(ROLE, _chunk({"content": "Par"}), _chunk({"reasoning_content": "hm"}), _chunk({"content": "is."}))

    assert (made.output_deltas, made.output_chars, made.finish_reason) == (3, 8, "")
    made.feed(END)
    assert (made.output_deltas, made.finish_reason) == (3, "stop")


def test_a_stream_without_its_end_has_no_body() -> None:
    assert _body() is None
    assert _body(ROLE, _chunk({"content": "Par"})) is None


def test_tool_calls_are_put_together_by_index() -> None:
    def piece(at: int, arguments: str, **members: Any) -> dict[str, Any]:
        name = {"name": members.pop("name")} if "name" in members else {}
        return {"index": at, "function": {**name, "arguments": arguments}, **members}

    body = _body(
        _chunk(
            {"role": "assistant", "content": None, "tool_calls": [piece(0, "", id="c0", type="function", name="f")]}
        ),
        _chunk({"tool_calls": [piece(0, '{"a"')]}),
        _chunk({"tool_calls": [piece(1, "{", id="c1", type="function", name="g")]}),
        _chunk({"tool_calls": [piece(0, ":1}"), piece(1, "}", id="c1", name="g")]}),
        _chunk({}, "tool_calls"),
    )

    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_two_calls_under_one_index_are_not_understood() -> None:
    def call(call_id: str) -> dict[str, Any]:
        return {"index": 0, "id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}

    made = _fed(_chunk({"tool_calls": [call("a")]}), _chunk({"tool_calls": [call("b")]}), _chunk({}, "tool_calls"))

    assert made.body() is None
    assert (made.output_deltas, made.output_chars, made.finish_reason) == (2, 6, "tool_calls")


def test_reasoning_and_refusals_are_kept_apart_from_the_text() -> None:
    body = _body(
        ROLE, _chunk({"content": None, "reasoning_content": "He"}), _chunk({"reasoning_content": "re"}),
        _chunk({"content": "Yes", "reasoning_content": None}), _chunk({"refusal": "No"}), END,
    )  # fmt: skip

    message = body["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Yes", "refusal": "No", "reasoning_content": "Here"}


def test_log_probabilities_are_joined() -> None:
    def with_logprobs(token: str) -> dict[str, Any]:
        chunk = _chunk({"content": token})
        chunk["choices"][0]["logprobs"] = {"content": [{"token": token, "logprob": -0.5}], "refusal": None}
        return chunk

    body = _body(ROLE, with_logprobs("Par"), with_logprobs("is"), END)

    logprobs = body["choices"][0]["logprobs"]
    assert [token["token"] for token in logprobs["content"]] == ["Par", "is"]
    assert logprobs["refusal"] is None


def test_several_choices_are_told_apart_and_all_must_come_to_an_end() -> None:
    opening = [_chunk({"content": "a"}), _chunk({"content": "b"}, index=1), _chunk({"content": "c"}), END]

    whole = _body(*opening, _chunk({}, "stop", index=1), choices=2)

    assert [choice["message"]["content"] for choice in whole["choices"]] == ["ac", "b"]
    assert _body(*opening, choices=2) is None
    assert _body(ROLE, END, choices=2) is None


@pytest.mark.parametrize(
    "noise", [{"obfuscation": "xx"}, {"timings": {"n": 1}}, {"x_groq": {"id": "r"}}, {"nvext": None}]
)
def test_known_noise_is_left_out(noise: dict[str, Any]) -> None:
    body = _body(ROLE, _chunk({"content": "x"}, **noise), END)

    assert not body.keys() & noise.keys()


def test_azures_first_chunk_without_id_does_not_name_the_answer() -> None:
    first = {**HEAD, "id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}

    body = _body(first, ROLE, _chunk({"content": "x"}), END)

    assert (body["id"], body["model"]) == ("chatcmpl-1", "small-1")
    assert body["prompt_filter_results"] == [{"prompt_index": 0}]


def test_usage_is_the_last_one_wherever_it_came() -> None:
    early = {**USAGE, "completion_tokens": 1}

    assert _body(_chunk({"content": "x"}, usage=early), _chunk({}, "stop", usage=USAGE))["usage"] == USAGE
    assert _body(ROLE, _chunk({}, "stop", x_groq={"usage": USAGE}))["usage"] == USAGE


@pytest.mark.parametrize(
    "odd",
    [
        {**HEAD, "choices": [], "error": {"message": "late"}},
        {**HEAD, "choices": [], "never_heard_of": 1},
        _chunk({"content": "x", "never_heard_of": 1}),
        _chunk({"audio": {"id": "a"}}),
        _chunk({"content": [{"type": "text", "text": "xyz"}]}),
        _chunk({"role": "user"}),
        _chunk({"content": 5}),
        _chunk({"tool_calls": [{"index": 0, "id": "c", "extra_content": {"s": 1}}]}),
        _chunk({"tool_calls": [{"id": "c", "function": {"name": "f"}}]}),
        {**HEAD, "choices": [{"index": 0, "delta": {}, "never_heard_of": 1}]},
        {**HEAD, "choices": [{"delta": {"content": "x"}}]},
        {**HEAD, "choices": [{"index": [], "delta": {"content": "x"}}]},
        {**HEAD, "choices": 5},
        {**HEAD, "choices": ["text"]},
        ["not an object"],
        None,
    ],
)
def test_what_is_not_understood_gives_no_body_but_counting_goes_on(odd: Any) -> None:
    made = _fed(ROLE, odd, _chunk({"content": "ab"}), END)

    assert made.body() is None
    assert made.output_chars >= 2
    assert made.finish_reason == "stop"


def test_half_a_surrogate_pair_gives_no_body() -> None:
    assert _body(ROLE, _chunk({"content": "\ud83d"}), END) is None


def test_an_endless_answer_is_counted_but_not_held() -> None:
    made = _fed(ROLE, *[_chunk({"content": "x" * 1_000_000})] * 5, END)

    assert made.output_chars == 5_000_000 > MAX_CHARACTERS
    assert made.body() is None


def test_a_flood_of_choices_is_not_held() -> None:
    assert _body(*[_chunk({"content": "x"}, "stop", index=at) for at in range(1000)], choices=1000) is None


def test_text_completions_are_assembled() -> None:
    head = {**HEAD, "object": "text_completion", "id": "cmpl-1"}
    pieces = [
        {**head, "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]}
        for text, reason in (("Par", None), ("is.", None), ("", "stop"))
    ]

    made = _fed(*pieces, {**head, "choices": [], "usage": USAGE}, endpoint=Endpoint.COMPLETIONS)

    body = orjson.loads(made.body() or b"")
    assert Completion.model_validate(body).choices[0].text == "Paris."
    assert (body["object"], body["usage"]) == ("text_completion", USAGE)
    assert (made.output_deltas, made.output_chars, made.finish_reason) == (2, 6, "stop")


def test_text_completions_with_probabilities_are_not_understood() -> None:
    choice = {"index": 0, "text": "x", "logprobs": {"tokens": ["x"]}, "finish_reason": "stop"}

    assert _body({**HEAD, "choices": [choice]}, endpoint=Endpoint.COMPLETIONS) is None


def test_a_response_is_the_one_its_last_event_tells() -> None:
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": []}
    delta = {"type": "response.output_text.delta", "delta": "Paris", "sequence_number": 4}

    made = _fed(delta, {"type": "response.completed", "response": response}, endpoint=Endpoint.RESPONSES)

    assert orjson.loads(made.body() or b"") == response
    assert (made.output_deltas, made.output_chars, made.finish_reason) == (1, 5, "stop")


@pytest.mark.parametrize(
    "end, reason",
    [
        (
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}},
            "length",
        ),
        (
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            "content_filter",
        ),
        ({"type": "response.failed", "response": {"error": {"code": "x"}}}, "error"),
        ({"type": "error", "message": "x"}, "error"),
        ({"type": "response.completed"}, "error"),
        (["not an object"], ""),
        ({"type": 5}, ""),
    ],
)
def test_a_response_that_ends_otherwise_has_no_body(end: Any, reason: str) -> None:
    made = _fed({"type": "response.created"}, end, endpoint=Endpoint.RESPONSES)

    assert (made.body(), made.finish_reason) == (None, reason)


def test_embeddings_have_no_assembler() -> None:
    with pytest.raises(ValueError, match="embeddings"):
        assembler(Endpoint.EMBEDDINGS)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recorded streams are not in this checkout")
def test_recorded_streams_assemble_into_what_the_official_package_reads_or_into_nothing() -> None:
    manifest = (RECORDINGS / "MANIFEST.tsv").read_text("utf-8").splitlines()
    assembled = total = 0
    for row in csv.DictReader(manifest, delimiter="\t"):
        if row["wire"] not in ("openai-chat", "openai-responses"):
            continue
        chat = row["wire"] == "openai-chat"
        made = assembler(Endpoint.CHAT if chat else Endpoint.RESPONSES)
        for event in _recorded(RECORDINGS / row["file"]):
            made.feed(event)
        body = made.body()
        total += 1
        if body is not None:
            assembled += 1
            # The vendors' own enumerations are wider than OpenAI's: construct as the SDK does, then look.
            kind = ChatCompletion if chat else Response
            assert kind.construct(**orjson.loads(body)).id
        assert row["error"] == "0" or body is None

    assert assembled >= total * 0.8


def _recorded(path: Path) -> list[Any]:
    lines = path.read_bytes().splitlines()
    data = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    return [orjson.loads(piece) for piece in data if piece and piece != b"[DONE]"]


@pytest.mark.parametrize("odd", [0, 1, 2, 3, 9])
def test_the_texts_are_whole_whether_the_stream_is_understood_or_not(odd: int) -> None:
    events = [
        _chunk({"content": "Par"}),
        _chunk({"reasoning_content": "h"}),
        _chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}]}),
        _chunk({"content": "is."}),
        _chunk({"reasoning_content": "m"}),
        _chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
    ]
    if odd < len(events):
        events[odd]["choices"][0]["delta"]["what_nobody_knows"] = 1

    made = _fed(*events)

    assert sorted(made.texts()) == sorted(["Paris.", "hm", "f", '{"a":1}'])
    assert sum(map(len, made.texts())) == made.output_chars


def test_texts_that_are_too_many_to_keep_are_still_measured() -> None:
    made = _fed(*[_chunk({"content": "x" * 1_000_000})] * 5, _chunk({"content": "end"}))

    assert made.output_chars == 5_000_003
    assert list(made.texts()) == []
