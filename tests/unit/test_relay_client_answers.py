import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from farthing.errors import UpstreamBroken
from gateway.upstreams.relay import RelayUpstream
from tests.unit.relay_client_setup import OK, Act, ask, deployment, plain, raw_server, until

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def upstream() -> AsyncIterator[RelayUpstream]:
    made = RelayUpstream(max_body_bytes=200_000)
    yield made
    await made.close()


async def test_chunk_extensions_and_trailers_are_read_over(upstream: RelayUpstream) -> None:
    body = b'3;name="a b"\r\none\r\n3\r\ntwo\r\n0;last\r\nx-trailer: t\r\n\r\n'

    async with raw_server(Act((CHUNKED + body,)), OK) as server:
        target = deployment(server.base_url)
        assert await ask(upstream, target) == b"onetwo"
        assert await ask(upstream, target) == b"{}"

    assert server.connections == 1


async def test_trailers_do_not_become_headers(upstream: RelayUpstream) -> None:
    async with raw_server(Act((CHUNKED + b"0\r\nx-trailer: t\r\n\r\n",))) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=False)

    assert answer.headers == {"transfer-encoding": "chunked"}


async def test_a_body_without_a_length_ends_with_its_connection(upstream: RelayUpstream) -> None:
    async with raw_server(Act((HEAD + b"\r\n", b"one", b"two"), "close"), OK) as server:
        target = deployment(server.base_url)
        assert await ask(upstream, target) == b"onetwo"
        assert await ask(upstream, target) == b"{}"

    assert server.connections == 2


async def test_a_stream_without_a_length_ends_with_its_connection(upstream: RelayUpstream) -> None:
    async with raw_server(Act((b"HTTP/1.0 200 OK\r\n\r\n", b"one", b"two"), "close")) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=True)

        assert b"".join([chunk async for chunk in answer.chunks()]) == b"onetwo"


@pytest.mark.parametrize("code", [b"100 Continue", b"103 Early Hints\r\nlink: </x>", b"102 Processing"])
async def test_informational_answers_are_skipped(upstream: RelayUpstream, code: bytes) -> None:
    early = b"HTTP/1.1 " + code + b"\r\n\r\n"

    async with raw_server(Act((early, early + OK.pieces[0])), OK) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=False)
        assert (answer.status, await answer.read()) == (200, b"{}")
        assert "link" not in answer.headers
        assert await ask(upstream, deployment(server.base_url)) == b"{}"

    assert server.connections == 1


async def test_repeated_headers_are_joined_and_names_are_lower_case(upstream: RelayUpstream) -> None:
    more = "X-Note: a\r\nx-note:\tb  \r\nX-EMPTY:\r\n"

    async with raw_server(plain(b"", more)) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=False)

    assert answer.headers == {"x-note": "a, b", "x-empty": "", "content-length": "0"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\nserver: x\n\n", id="bare line feeds"),
        pytest.param(
            HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", id="cl, te"
        ),
        pytest.param(HEAD + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\nab", id="both, turned round"),
        pytest.param(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\nabc", id="two lengths"),
        pytest.param(HEAD + b"content-length: -2\r\n\r\nab", id="a negative length"),
        pytest.param(HEAD + b"content-length: 99999999999999999999\r\n\r\nab", id="a length past 64 bits"),
        pytest.param(HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="te: gzip, chunked"),
        pytest.param(HEAD + b"transfer-encoding: identity\r\n\r\nab", id="te: identity"),
        pytest.param(CHUNKED + b"2\r\nabc\r\n0\r\n\r\n", id="a chunk longer than it says"),
        pytest.param(CHUNKED + b"fffffffffffffffff\r\nabc", id="a chunk size past 64 bits"),
        pytest.param(CHUNKED + b"zz\r\nabc", id="a chunk size that is none"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", id="an upgrade"),
        pytest.param(HEAD + b"a: b\r\n c\r\n\r\n", id="a folded header"),
        pytest.param(HEAD + b"a: b\0c\r\n\r\n", id="a NUL in a header"),
        pytest.param(HEAD + b"x: y\r\n" * 201 + b"\r\n", id="too many headers"),
        pytest.param(CHUNKED + b"0\r\n" + b"x: y\r\n" * 201 + b"\r\n", id="too many trailers"),
        pytest.param(HEAD + b"x: " + b"y" * 66_000 + b"\r\n\r\n", id="too long a header"),
        pytest.param(HEAD + b"x: " + b"y" * 300_000, id="a header without an end"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000, id="informational answers without an end"),
    ],
)
async def test_an_answer_that_cannot_be_trusted_is_broken_and_its_connection_closed(
    upstream: RelayUpstream, answer: bytes
) -> None:
    async with raw_server(Act((answer,), "wait")) as server:
        with pytest.raises(UpstreamBroken, match="Provider 'acme' "):
            await ask(upstream, deployment(server.base_url))
        await until(lambda: server.closed)


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 2",), (HEAD,), (HEAD + b"content-length: 5\r\n\r\nabc",)])
async def test_a_connection_closed_before_the_end_of_the_answer_is_broken(
    upstream: RelayUpstream, pieces: tuple[bytes, ...]
) -> None:
    async with raw_server(Act(pieces, "close")) as server:
        with pytest.raises(UpstreamBroken, match=r"'acme' broke off its answer \(it closed the connection\)"):
            await ask(upstream, deployment(server.base_url))

    assert len(server.requests) == 1


@pytest.mark.parametrize("surplus", [b"garbage", b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nX"])
async def test_bytes_behind_an_answer_belong_to_nobody(upstream: RelayUpstream, surplus: bytes) -> None:
    async with raw_server(Act((OK.pieces[0] + surplus,)), plain(b"[]")) as server:
        target = deployment(server.base_url)
        assert await ask(upstream, target) == b"{}"
        assert await ask(upstream, target) == b"[]"

    assert server.connections == 2


async def test_an_answer_nobody_asked_for_closes_the_idle_connection(upstream: RelayUpstream) -> None:
    async with raw_server(OK, plain(b"[]")) as server:
        target = deployment(server.base_url)
        await ask(upstream, target)
        server.writers[0].write(plain(b"evil").pieces[0])
        await until(lambda: server.closed)

        assert await ask(upstream, target) == b"[]"

    assert server.connections == 2


@pytest.mark.parametrize(
    "act", [plain(b"{}", "connection: close\r\n"), Act((b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",))]
)
async def test_a_connection_is_not_kept_where_the_provider_will_not_keep_it(upstream: RelayUpstream, act: Act) -> None:
    async with raw_server(act, OK) as server:
        target = deployment(server.base_url)
        assert await ask(upstream, target) == b"{}"
        assert await ask(upstream, target) == b"{}"

    assert server.connections == 2


@pytest.mark.parametrize(
    "act",
    [
        plain(b"x" * 300_000),
        Act((CHUNKED, b"493e0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n")),
        Act((HEAD + b"\r\n" + b"x" * 300_000,), "wait"),
    ],
)
async def test_a_body_over_the_cap_is_broken(upstream: RelayUpstream, act: Act) -> None:
    async with raw_server(act) as server:
        with pytest.raises(UpstreamBroken, match="more than 200000 bytes"):
            await ask(upstream, deployment(server.base_url))
        await until(lambda: server.closed)


async def test_a_stream_may_be_longer_than_a_plain_body(upstream: RelayUpstream) -> None:
    async with raw_server(Act((CHUNKED, b"493e0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n"))) as server:
        answer = await upstream.send(deployment(server.base_url), "x", b"", stream=True)

        assert sum([len(chunk) async for chunk in answer.chunks()]) == 300_000


async def test_a_compressed_answer_is_refused(upstream: RelayUpstream) -> None:
    async with raw_server(plain(b"?", "Content-Encoding: gzip\r\n")) as server:
        with pytest.raises(UpstreamBroken, match="compressed"):
            await ask(upstream, deployment(server.base_url))


async def test_a_redirect_is_not_followed(upstream: RelayUpstream) -> None:
    moved = Act((b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",))

    async with raw_server(moved, OK) as server:
        with pytest.raises(UpstreamBroken, match="redirect"):
            await ask(upstream, deployment(server.base_url))

    assert len(server.requests) == 1


async def test_an_answer_that_comes_before_the_request_has_left_is_read_and_its_connection_closed(
    upstream: RelayUpstream,
) -> None:
    left = asyncio.Event()

    async def refuse_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(refuse_unread, "127.0.0.1", 0) as server:
        target = deployment(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        answer = await upstream.send(target, "x", b"x" * 20_000_000, stream=False)

        assert answer.status == 413
        async with asyncio.timeout(5):
            await left.wait()
