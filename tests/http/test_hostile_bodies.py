"""Hostile bodies: 400 with the parameter at fault and a record, within a second, and nothing of it goes upstream."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from farthing.record import Outcome
from tests.gateway import RunningGateway
from tests.http.hostile import CHAT, asked, hostile_gateway, post, send, serves

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
MEGABYTES = 8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    async with hostile_gateway(tmp_path_factory.mktemp("bodies")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roomy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """A gateway that takes bodies of the default size."""
    directory = tmp_path_factory.mktemp("roomy")
    async with hostile_gateway(directory, max_body_bytes=33_554_432) as running:
        yield running


async def is_refused(
    gateway: RunningGateway, body: bytes, code: str, *, path: str = CHAT, param: str | None = None
) -> None:
    """Send it raw; expect 400 and one record, nothing upstream, and a gateway that goes on."""
    sent, booked = len(gateway.mock.requests), len(gateway.records())

    reply = await send(gateway, post(body, target=path.encode()))

    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param), reply.body[:300]
    assert reply.error["type"] == "invalid_request_error"
    assert len(gateway.mock.requests) == sent
    records = gateway.records()
    assert len(records) == booked + 1
    assert (records[-1].outcome, records[-1].status, records[-1].error_code) == (Outcome.REJECTED, 400, code)
    assert (records[-1].tags.key_id, records[-1].cost) == ("first", 0)
    assert await serves(gateway)


def with_member(text: str) -> bytes:
    """A good chat body with one more member, as text."""
    return asked()[:-1] + b", " + text.encode() + b"}"


UNPARSABLE = {
    "nothing": b"",
    "blanks": b"  \r\n ",
    "a word": b"hello",
    "a form": b"model=auto&messages=hi",
    "xml": b"<?xml version='1.0'?><model>auto</model>",
    "cut off": asked()[:-1],
    "two objects": asked() + asked(),
    "a comment": b"// hi\n" + asked(),
    "a trailing comma": asked()[:-1] + b",}",
    "single quotes": b"{'model': 'auto'}",
    "null": b"null",
    "true": b"true",
    "a number": b"42",
    "a string": b'"hello"',
    "a list": b"[" + asked() + b"]",
    "NaN": with_member('"temperature": NaN'),
    "Infinity": with_member('"temperature": Infinity'),
    "minus Infinity": with_member('"temperature": -Infinity'),
    "1e999": with_member('"temperature": 1e999'),
    "a hex number": with_member('"temperature": 0x1'),
    "a leading zero": with_member('"temperature": 01'),
    "an integer of thousands of digits": with_member('"seed": ' + "9" * 5000),
    "an integer of 65 bits": with_member('"seed": 18446744073709551616'),
    "a negative integer of 65 bits": with_member('"seed": -9223372036854775809'),
    "a big integer deep inside": with_member('"x": [{"y": [1.5, {"z": 36893488147419103232}]}]'),
    "a key twice": with_member('"model": "small-model"'),
    "a key twice in two spellings": with_member('"mod\\u0065l": "small-model"'),
    "a key twice deep inside": with_member('"x": [{"y": {"z": 1, "a": {}, "z": 1}}]'),
    "a key twice, spaced": with_member('"x": {"y" \n:1, "y"\t: 2}'),
    "a key twice beside a quoted colon": with_member('"x": {"y": "\\":", "z": 1, "z": 2}'),
    "an empty key twice": with_member('"": 1, "": 2'),
    "bad UTF-8": asked("caf\u00e9").replace(b"\\u00e9", b"\xe9"),
    "an overlong encoding": asked("x").replace(b'"x"', b'"\xc0\xaf"'),
    "a surrogate in UTF-8": asked("x").replace(b'"x"', b'"\xed\xa0\x80"'),
    "a byte order mark": b"\xef\xbb\xbf" + asked(),
    "UTF-16": asked().decode().encode("utf-16"),
    "UTF-32": asked().decode().encode("utf-32-le"),
    "a lone high surrogate": asked("x").replace(b'"x"', b'"\\ud800"'),
    "a lone low surrogate": asked("x").replace(b'"x"', b'"\\udc00 "'),
    "a lone surrogate in a key": with_member('"\\ud800": 1'),
    "a bare NUL": asked("x").replace(b'"x"', b'"\x00"'),
    "a bare line feed in a string": asked("x").replace(b'"x"', b'"\n"'),
    "nesting of 129": with_member('"x": ' + "[" * 129 + "]" * 129),
    "nesting of ten thousand": with_member('"x": ' + "[" * 10_000 + "]" * 10_000),
    "nesting of ten thousand objects": with_member('"x": ' + '{"a":' * 10_000 + "1" + "}" * 10_000),
    "nesting that is never closed": b'{"x": ' + b"[" * 90_000,
}


@pytest.mark.parametrize("body", UNPARSABLE.values(), ids=UNPARSABLE.keys())
async def test_what_is_not_one_plain_json_object_is_invalid_json(gateway: RunningGateway, body: bytes) -> None:
    await is_refused(gateway, body, "invalid_json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"null", b"[]", b"{", b""])
async def test_every_endpoint_refuses_it(gateway: RunningGateway, path: str, body: bytes) -> None:
    await is_refused(gateway, body, "invalid_json", path=path)


HEAVY = {
    "a million keys": b"{" + b",".join(b'"%x":1' % n for n in range(1_000_000)) + b"}",
    "a million objects": b'{"x": [' + b",".join([b'{"a":1}'] * 1_000_000) + b"]}",
    "millions of empty lists": b'{"x": [' + b"[]," * (MEGABYTES * 2**20 // 3) + b"[]]}",
    "millions of empty strings": b'{"x": [' + b'"",' * (MEGABYTES * 2**20 // 3) + b'""]}',
    "millions of open brackets": b'{"x": ' + b"[" * (MEGABYTES * 2**20),
    "a number of millions of digits": b'{"x": ' + b"7" * (MEGABYTES * 2**20) + b"}",
    "millions of backslashes": b'{"x": "' + b"\\" * (MEGABYTES * 2**20),
    "one endless string": b'{"x": "' + b"a" * (MEGABYTES * 2**20),
    "endless blanks": b'{"x"' + b" " * (MEGABYTES * 2**20),
}


@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY.keys())
async def test_a_heavy_body_is_refused_at_once(roomy: RunningGateway, body: bytes) -> None:
    async with asyncio.timeout(5):
        await is_refused(roomy, body, "invalid_json")


@pytest.mark.parametrize(
    ("path", "members", "param"),
    [
        (CHAT, {"model": None}, "model"),
        (CHAT, {"model": 7}, "model"),
        (CHAT, {"model": ["auto"]}, "model"),
        (CHAT, {"model": {}}, "model"),
        (CHAT, {"model": ""}, "model"),
        (CHAT, {"model": "m" * 257}, "model"),
        (CHAT, {"messages": None}, "messages"),
        (CHAT, {"messages": "hi"}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": {}}, "messages"),
        (CHAT, {"messages": [None]}, "messages[0]"),
        (CHAT, {"messages": [{"role": "user", "content": "x"}, "hi"]}, "messages[1]"),
        (CHAT, {"messages": [{"content": "x"}]}, "messages[0]"),
        (CHAT, {"messages": [{"role": 1, "content": "x"}]}, "messages[0]"),
        (CHAT, {"stream": "true"}, "stream"),
        (CHAT, {"stream": 1}, "stream"),
        (CHAT, {"stream_options": []}, "stream_options"),
        (CHAT, {"stream_options": "include_usage"}, "stream_options"),
        ("/v1/completions", {"prompt": None}, "prompt"),
        ("/v1/completions", {"prompt": {}}, "prompt"),
        ("/v1/completions", {"prompt": "x", "best_of": 1000}, "best_of"),
        ("/v1/completions", {"prompt": "x", "max_tokens": -1}, "max_tokens"),
        ("/v1/embeddings", {"input": None}, "input"),
        ("/v1/embeddings", {"input": {}}, "input"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/embeddings", {"input": 5}, "input"),
        ("/v1/embeddings", {"input": "x", "stream": True}, "stream"),
        ("/v1/responses", {"input": 5}, "input"),
        ("/v1/responses", {"input": {}}, "input"),
        ("/v1/responses", {"input": "x", "background": True}, "background"),
        ("/v1/responses", {"input": "x", "max_output_tokens": True}, "max_output_tokens"),
    ],
)
async def test_a_wrong_type_names_its_parameter(
    gateway: RunningGateway, path: str, members: dict[str, Any], param: str
) -> None:
    chat = {"messages": [{"role": "user", "content": "x"}]} if path == CHAT else {}

    await is_refused(
        gateway,
        json.dumps({"model": "plain-model", **chat, **members}).encode(),
        "invalid_parameter",
        path=path,
        param=param,
    )


@pytest.mark.parametrize("name", ["n", "max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "value", [-1, 0, 10**9, 2**63, 2**64 - 1, 1.0, 1e300, True, False, "1", [1], {}], ids=lambda value: repr(value)[:24]
)
async def test_a_count_that_is_no_plain_count_is_refused(gateway: RunningGateway, name: str, value: Any) -> None:
    await is_refused(gateway, asked(**{name: value}), "invalid_parameter", param=name)


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b", "\x7f\x1b[31m", "\u2028\u202e", "\ufffe\uffff", "\U0001f600" * 50, "\r\n"]
)
async def test_strange_but_valid_text_goes_through_and_into_the_cache(gateway: RunningGateway, text: str) -> None:
    first = await gateway.chat(text, user=text, model="plain-model")
    second = await gateway.chat(text, user=text, model="plain-model")

    assert [(reply.status_code, reply.headers["x-farthing-cache"]) for reply in (first, second)] == [
        (200, "miss"),
        (200, "exact"),
    ]
    assert gateway.mock.requests[-1].json["messages"][0]["content"] == text


@pytest.mark.parametrize(
    "model",
    [
        "no-such-model",
        "tier/none",
        "tier/",
        "../large-model",
        "http://127.0.0.1:1/v1",
        "openai/http://evil.example",
        "${OPENAI_API_KEY}",
        "{{7*7}}",
        "' OR 1=1 --",
        "a\x00b",
        "a\r\nX-Injected: 1",
        "\U0001f600",
        "AUTO",
        "auto ",
    ],
)
async def test_an_unknown_model_is_404_and_booked(gateway: RunningGateway, model: str) -> None:
    sent = len(gateway.mock.requests)

    response = await gateway.chat("x", model=model)

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert response.json()["error"]["param"] == "model"
    assert "x-injected" not in response.headers
    assert gateway.record_of(response).model_requested == model
    assert len(gateway.mock.requests) == sent


BAD_TAGS = [
    "a\r\nX-Injected: 1",
    "a\nb",
    "%0d%0aX-Injected:1",
    "a b",
    "caf\u00e9",
    "${HOME}",
    "<b>",
    "=1+1",
    "-",
    "a" * 129,
    "a\x00",
    "",
]


@pytest.mark.parametrize("tag", BAD_TAGS)
@pytest.mark.parametrize("name", ["feature", "task", "run", "environment"])
async def test_a_tag_in_metadata_is_plain_or_refused(gateway: RunningGateway, name: str, tag: str) -> None:
    await is_refused(gateway, asked(metadata={name: tag}), "invalid_tag", param=f"metadata.{name}")


@pytest.mark.parametrize(
    "tag", [b"%0d%0aX-Injected:1", b"a b", b"caf\xc3\xa9", b"${HOME}", b"<b>", b"a" * 129, b"", b"a\tb"]
)
@pytest.mark.parametrize("name", [b"Feature", b"Task", b"Run", b"Environment"])
async def test_a_tag_in_a_header_is_plain_or_refused(gateway: RunningGateway, name: bytes, tag: bytes) -> None:
    booked = len(gateway.records())

    reply = await send(gateway, post(asked(), b"X-Farthing-" + name + b": " + tag))

    assert (reply.status, reply.error["code"]) == (400, "invalid_tag")
    assert reply.error["param"] == "x-farthing-" + name.decode().lower()
    assert "x-injected" not in reply.headers
    assert len(gateway.records()) == booked + 1
    assert await serves(gateway)


async def test_a_tag_sent_twice_is_refused(gateway: RunningGateway) -> None:
    reply = await send(gateway, post(asked(), b"X-Farthing-Run: one", b"X-Farthing-Run: one"))

    assert (reply.status, reply.error["code"]) == (400, "invalid_tag")


@pytest.mark.parametrize("value", [7, ["chat"], {"a": 1}, True])
async def test_a_tag_of_another_type_is_refused(gateway: RunningGateway, value: object) -> None:
    await is_refused(gateway, asked(metadata={"run": value}), "invalid_tag", param="metadata.run")


async def test_ids_that_a_caller_chose_come_back_nowhere(gateway: RunningGateway) -> None:
    reply = await send(
        gateway,
        post(
            asked("ids", model="plain-model"),
            b"X-Request-Id: mine%0d%0aX-Injected: 1",
            b"Traceparent: 00-mine-mine-01",
            b"X-Farthing-Request-Id: mine",
        ),
    )

    assert reply.status == 200
    assert reply.headers["x-request-id"] == reply.headers["x-farthing-request-id"]
    assert reply.headers["x-request-id"].startswith("req-")
    assert not any("mine" in value for value in (*reply.headers, *reply.headers.values()))
    assert "traceparent" not in gateway.mock.requests[-1].headers


async def test_a_disconnect_during_the_body_leaves_no_record(gateway: RunningGateway) -> None:
    booked = len(gateway.records())
    for cut in (1, 20, 60):
        _, writer = await asyncio.open_connection(gateway.host, gateway.port)
        writer.write(post(asked())[:-cut])
        await writer.drain()
        writer.close()

    assert await serves(gateway)
    assert len(gateway.records()) == booked + 1
