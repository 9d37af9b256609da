"""Hostile HTTP: whatever the bytes, one clear answer at most, nothing smuggled, and the next request is served."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateway import ADMIN_KEY, RunningGateway
from tests.http.hostile import (
    CHAT,
    HastyProtocol,
    asked,
    connected,
    head,
    hostile_gateway,
    post,
    read_reply,
    send,
    send_until_closed,
    serves,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
BODY = asked("smuggled")
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    async with hostile_gateway(tmp_path_factory.mktemp("http")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    async with hostile_gateway(tmp_path_factory.mktemp("hasty"), protocol=HastyProtocol) as running:
        yield running


MALFORMED = {
    "length and chunked together": head(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + post(BODY),
    "chunked and length together": head(b"Transfer-Encoding: chunked", b"Content-Length: 5")
    + b"0\r\n\r\n"
    + post(BODY),
    "two different lengths": head(b"Content-Length: 5", b"Content-Length: %d" % len(BODY)) + BODY,
    "the same length twice": head(b"Content-Length: %d" % len(BODY), b"Content-Length: %d" % len(BODY)) + BODY,
    "two lengths in one header": head(b"Content-Length: %d, 5" % len(BODY)) + BODY,
    "a negative length": head(b"Content-Length: -1") + BODY,
    "a length in hex": head(b"Content-Length: 0x10") + BODY,
    "a length beyond 64 bits": head(b"Content-Length: " + b"9" * 40) + BODY,
    "an unknown transfer encoding": head(b"Transfer-Encoding: gzip") + BODY,
    "chunked that is not last": head(b"Transfer-Encoding: chunked, identity") + CHUNKED,
    "chunked misspelt": head(b"Transfer-Encoding: xchunked") + CHUNKED,
    "a chunk without its line end": head(b"Transfer-Encoding: chunked") + b"%x\r\n%bXX0\r\n\r\n" % (len(BODY), BODY),
    "a chunk size that is no number": head(b"Transfer-Encoding: chunked") + b"zz\r\n" + BODY,
    "a chunk size beyond 64 bits": head(b"Transfer-Encoding: chunked") + b"f" * 17 + b"\r\n" + BODY,
    "a trailer": head(b"Transfer-Encoding: chunked") + CHUNKED[:-2] + b"X-Farthing-Feature: plain\r\n\r\n",
    "no host": head(b"Content-Length: %d" % len(BODY), host=None) + BODY,
    "two hosts": head(b"Host: other", b"Content-Length: %d" % len(BODY)) + BODY,
    "a folded header": head(b"X-Farthing-Feature: chat\r\n plain", b"Content-Length: %d" % len(BODY)) + BODY,
    "a bare line feed in a header": head(b"X-Farthing-Feature: chat\nX-Injected: 1\r\n: x") + BODY,
    "a NUL in a header": head(b"X-Farthing-Feature: ch\x00at", b"Content-Length: %d" % len(BODY)) + BODY,
    "a space in a header name": head(b"X-Farthing Feature: chat", b"Content-Length: %d" % len(BODY)) + BODY,
    "a method of no known name": b"FARTHING" + post(BODY)[4:],
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "bytes beyond ASCII in the target": post(BODY, target=CHAT.encode() + b"\xff"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_400_and_the_end_of_its_connection(gateway: RunningGateway, data: bytes) -> None:
    sent, booked = len(gateway.mock.requests), len(gateway.records())

    answer = await send_until_closed(gateway, data)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1, "the tail was taken for another request"
    assert b'"code":"malformed_request"' in answer
    assert (len(gateway.mock.requests), len(gateway.records())) == (sent, booked)
    assert await serves(gateway)


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\n"], ids=["whole", "cut"])
async def test_a_body_in_chunks_is_acted_on_only_when_it_is_whole(gateway: RunningGateway, end: bytes) -> None:
    booked = len(gateway.records())
    body = asked(f"in chunks, {len(end)} bytes at the end")
    async with connected(gateway) as (reader, writer):
        writer.write(head(b"Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(body), body) + end)
        if end.endswith(b"0\r\n\r\n"):
            assert (await read_reply(reader)).status == 200
        else:
            writer.write_eof()
            writer.close()

    assert await serves(gateway)
    asked_upstream = [request for request in gateway.mock.requests if b"in chunks, %d bytes" % len(end) in request.body]
    assert len(asked_upstream) == len(gateway.records()) - booked - 1 == int(end == b"0\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        post(BODY, host=b"gateway/v1/models?x=1#y", key=""),
        post(BODY, host=b"evil.example:80@gateway", key=""),
        post(BODY, target=b"http://evil.example/v1/chat/completions", key=""),
        post(BODY, target=b"http://user:pass@gateway/v1/chat/completions", key=""),
        post(BODY, b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Host: localhost", b"X-Forwarded-Proto: https", key=""),
        post(BODY, b"X-Forwarded-Prefix: /admin", b"Forwarded: for=127.0.0.1", b"X-Original-URL: /healthz", key=""),
        post(BODY, b"X-HTTP-Method-Override: GET", b"X-Rewrite-URL: /healthz", key=""),
    ],
)
async def test_host_target_and_forwarded_headers_open_nothing(gateway: RunningGateway, data: bytes) -> None:
    sent = len(gateway.mock.requests)

    reply = await send(gateway, data)

    assert 400 <= reply.status <= 421
    assert len(gateway.mock.requests) == sent
    assert await serves(gateway)


async def test_a_strange_host_changes_neither_route_nor_upstream(gateway: RunningGateway) -> None:
    reply = await send(gateway, post(asked("strange host"), b"X-Forwarded-Host: evil.example", host=b"evil.example"))

    assert reply.status == 200
    assert gateway.mock.requests[-1].path == CHAT
    assert gateway.mock.requests[-1].headers["host"] in gateway.mock.base_url


@pytest.mark.parametrize("header", [b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=127.0.0.1", b"X-Real-IP: ::1"])
async def test_metrics_are_not_shown_to_whom_a_proxy_brings(gateway: RunningGateway, header: bytes) -> None:
    reply = await send(gateway, head(header, target=b"/metrics", method=b"GET", key=""))

    assert reply.status == 403


PATHS = [
    "/v1/../v1/chat/completions",
    "/v1/%2e%2e/v1/chat/completions",
    "/v1/./chat/completions",
    "/v1%2fchat%2fcompletions",
    "/v1/chat%2Fcompletions",
    "/v1/chat%252Fcompletions",
    "/v1/%63hat/completions",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions%00",
    "/v1/chat/completions;a=b",
    "/V1/chat/completions",
    "/v1/chat/completions/../../../api/budgets",
    "/static/../farthing.yaml",
    "/static/%2e%2e/%2e%2e/farthing.yaml",
    "/static/..%2f..%2fserver.py",
    "/static/%252e%252e/server.py",
    "/static//etc/passwd",
    "/..%5c..%5cetc%5cpasswd",
    "/config",
    "/v1",
    "/",
]


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/"])
async def test_a_path_is_what_it_says_and_nothing_near_it(gateway: RunningGateway, path: str) -> None:
    sent, booked = len(gateway.mock.requests), len(gateway.records())

    replies = [await send(gateway, post(BODY, target=path.encode(), key=key)) for key in ("", ADMIN_KEY)]

    assert [reply.status for reply in replies] == [404, 404]
    assert replies[0].body == replies[1].body
    assert replies[0].error["code"] == "not_found"
    assert (len(gateway.mock.requests), len(gateway.records())) == (sent, booked)


@pytest.mark.parametrize("path", PATHS)
async def test_a_get_reads_no_file_outside_of_the_pages(gateway: RunningGateway, path: str) -> None:
    reply = await send(gateway, head(target=path.encode(), method=b"GET", key=""))

    assert reply.status in (200, 302, 303, 307, 401, 404)
    assert b"root:" not in reply.body
    assert b"data_dir" not in reply.body
    assert b"uvicorn" not in reply.body


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE"])
async def test_another_method_is_405_and_booked(gateway: RunningGateway, method: bytes) -> None:
    booked = len(gateway.records())

    reply = await send(gateway, head(method=method))

    assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
    assert len(gateway.records()) == booked + 1


@pytest.mark.parametrize(
    "data",
    [
        head(target=b"evil.example:443", method=b"CONNECT"),
        head(target=b"*", method=b"OPTIONS"),
        head(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: x",
            target=b"/v1/realtime",
            method=b"GET",
        ),
        head(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: 0"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["connect", "asterisk", "websocket", "h2c", "http2 preface"],
)
async def test_other_protocols_get_a_4xx(gateway: RunningGateway, data: bytes) -> None:
    reply = await send(gateway, data)

    assert 400 <= reply.status < 500
    assert await serves(gateway)


@pytest.mark.parametrize(
    "headers",
    [[b"X-Pad: 1"] * 3000, [b"X-Pad: " + b"a" * 70_000], [b"X-%d: %b" % (n, b"a" * 1000) for n in range(80)]],
    ids=["many", "one long", "many long"],
)
@pytest.mark.parametrize("target", [CHAT.encode(), b"/v1/models", b"/healthz"])
async def test_a_flood_of_headers_is_431(gateway: RunningGateway, headers: list[bytes], target: bytes) -> None:
    booked = len(gateway.records())

    reply = await send(gateway, post(BODY, *headers, target=target))

    assert (reply.status, reply.error["code"]) == (431, "headers_too_large")
    assert reply.headers["connection"] == "close"
    assert len(gateway.records()) - booked == int(target == CHAT.encode())
    assert await serves(gateway)


@pytest.mark.parametrize(
    "start",
    [
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: x\r\nX-Endless: ",
        b"POST /",
        head(b"Transfer-Encoding: chunked") + b"5;extension=",
        head(b"Transfer-Encoding: chunked") + b"0\r\nX-Trailer: ",
    ],
    ids=["header", "target", "chunk extension", "trailer"],
)
async def test_what_never_ends_is_cut_at_a_few_megabytes(gateway: RunningGateway, start: bytes) -> None:
    async with connected(gateway) as (reader, writer), asyncio.timeout(10):
        writer.write(start + b"a" * 4_000_000)
        reply = await read_reply(reader)

    assert (reply.status, reply.error["code"]) == (431, "headers_too_large")
    assert await serves(gateway)


async def test_half_sent_requests_delay_nobody_and_are_closed(hasty: RunningGateway) -> None:
    halves = [b"", b"POST ", head()[:-2], head(b"Content-Length: 500") + b'{"model"', post(BODY)[:-1]] * 40
    readers = []
    for half in halves:
        reader, writer = await asyncio.open_connection(hasty.host, hasty.port)
        writer.write(half)
        readers.append((half, reader, writer))

    async with asyncio.timeout(2):
        assert await serves(hasty)

    async with asyncio.timeout(10):
        for half, reader, writer in readers:
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408 ") if half else answer == b""
            writer.close()
    assert len(hasty.records()) == 1


async def test_a_connection_that_only_sends_line_ends_is_closed(hasty: RunningGateway) -> None:
    async with connected(hasty) as (reader, writer), asyncio.timeout(5):
        writer.write(post(asked("then line ends")))
        assert (await read_reply(reader)).status == 200
        for _ in range(3):
            writer.write(b"\r\n")
            await asyncio.sleep(0.02)

        assert await reader.read() == b""


async def test_an_answer_may_take_longer_than_a_request(hasty: RunningGateway) -> None:
    async with connected(hasty) as (reader, writer):
        for content in ("one", "two"):
            writer.write(post(asked(content, model="mock-slow-first-byte")))
            assert (await read_reply(reader)).status == 200


async def test_http_1_0_needs_no_host(gateway: RunningGateway) -> None:
    reply = await send(gateway, b"GET /healthz HTTP/1.0\r\n\r\n")

    assert reply.status == 200


async def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway) -> None:
    async with connected(gateway) as (reader, writer), asyncio.timeout(10):
        writer.write(post(asked("first", model="plain-model")) + post(b"{") + post(asked("third", model="plain-model")))
        statuses = [(await read_reply(reader)).status for _ in range(3)]

    assert statuses == [200, 400, 200]


async def test_garbage_after_a_request_in_progress_does_not_corrupt_its_answer(gateway: RunningGateway) -> None:
    booked = len(gateway.records())

    answer = await send_until_closed(
        gateway, post(asked("x", model="mock-slow-first-byte")) + b"\x00\x01 garbage\r\n\r\n"
    )

    assert answer.count(b"HTTP/1.1 ") == 1
    assert await serves(gateway)
    await until(lambda: len(gateway.records()) == booked + 2)


async def test_a_declared_body_over_the_limit_is_413_before_it_is_sent(gateway: RunningGateway) -> None:
    booked = len(gateway.records())

    answer = await send_until_closed(gateway, head(b"Content-Length: 100001"))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"request_too_large"' in answer
    assert len(gateway.records()) == booked + 1
    assert gateway.records()[-1].tags.key_id == "first"
    assert await serves(gateway)


async def test_a_chunked_body_over_the_limit_is_413_without_reading_on(gateway: RunningGateway) -> None:
    piece = b"%x\r\n%b\r\n" % (60_000, b" " * 60_000)

    answer = await send_until_closed(gateway, head(b"Transfer-Encoding: chunked") + piece * 2)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert await serves(gateway)


async def test_sixty_megabytes_are_413_also_for_a_client_that_sends_before_it_reads(gateway: RunningGateway) -> None:
    response = await gateway.client.post(CHAT, content=b'{"model": "' + b"a" * 60_000_000 + b'"}')

    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
    assert await serves(gateway)


async def test_a_long_body_of_a_stranger_is_not_read_to_its_end(gateway: RunningGateway) -> None:
    answer = await send_until_closed(gateway, head(b"Content-Length: 90000", key="nobody") + b" " * 10)

    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"GZIP", b"identity, gzip", b"zstd"])
async def test_a_compressed_body_is_415_and_never_unpacked(gateway: RunningGateway, encoding: bytes) -> None:
    booked = len(gateway.records())

    reply = await send(gateway, post(b"\x1f\x8b\x08" + b"\x00" * 1000, b"Content-Encoding: " + encoding))

    assert (reply.status, reply.error["code"]) == (415, "unsupported_content_encoding")
    assert len(gateway.records()) == booked + 1
    assert await serves(gateway)
