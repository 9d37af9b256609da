import asyncio
import shutil
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farthing.catalog import Deployment, Provider, Quirks, Timeouts
from farthing.errors import ConfigError, UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.upstreams.pyreqwest import PyreqwestUpstream
from gateway.upstreams.testing import Ending, Scripted, ScriptedServer, scripted_server

OK = Scripted(chunks=(b"{}",))


@pytest.fixture
async def upstream() -> AsyncIterator[PyreqwestUpstream]:
    made = PyreqwestUpstream(max_body_bytes=200_000)
    yield made
    await made.close()


def deployment(base_url: str, **fields: object) -> Deployment:
    timeouts = Timeouts(connect=5, first_byte=5, idle=5, total=5)
    provider = Provider(name="acme", adapter="openai", base_url=base_url, timeouts=timeouts)
    return Deployment(name="m", provider=replace(provider, **fields), model="m")  # type: ignore[arg-type]


async def ask(upstream: PyreqwestUpstream, target: Deployment, operation: str = "chat/completions") -> bytes:
    answer = await upstream.send(target, operation, b'{"a":1}', stream=False)
    body = await answer.read()
    await answer.close()
    return body


async def test_the_request_carries_the_key_the_body_and_nothing_of_anybody_else(
    upstream: PyreqwestUpstream,
) -> None:
    async with scripted_server(OK) as server:
        await ask(upstream, deployment(server.base_url + "/v1/", api_key="sk-1"))

    [(line, headers, body)] = server.requests
    assert (line, body) == ("POST /v1/chat/completions HTTP/1.1", b'{"a":1}')
    assert headers.pop("user-agent").startswith("farthing/")
    assert headers.pop("host") in server.base_url
    assert headers == {
        "authorization": "Bearer sk-1",
        "content-type": "application/json",
        "content-length": "7",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


async def test_quirks_place_the_key_the_prefix_and_the_query(upstream: PyreqwestUpstream) -> None:
    quirks = Quirks(path_prefix="/openai", query="api-version=1", key_header="Api-Key", key_scheme="")

    async with scripted_server(OK) as server:
        await ask(upstream, deployment(server.base_url, api_key="k", quirks=quirks), "embeddings")

    [(line, headers, _)] = server.requests
    assert line == "POST /openai/embeddings?api-version=1 HTTP/1.1"
    assert headers["api-key"] == "k"
    assert "authorization" not in headers


async def test_headers_of_the_provider_are_sent_and_win(upstream: PyreqwestUpstream) -> None:
    extra = (("X-Title", "app"), ("User-Agent", "mine"), ("Accept-Encoding", "gzip"))

    async with scripted_server(OK) as server:
        await ask(upstream, deployment(server.base_url, headers=extra))

    headers = server.requests[0][1]
    assert (headers["x-title"], headers["user-agent"]) == ("app", "mine")
    assert headers["accept-encoding"] == "identity"
    assert "authorization" not in headers


async def test_requests_in_a_row_share_a_connection(upstream: PyreqwestUpstream) -> None:
    async with scripted_server(OK, OK, OK) as server:
        for _ in range(3):
            await ask(upstream, deployment(server.base_url))

        assert server.connections == 1


async def test_no_more_connections_are_opened_than_allowed() -> None:
    upstream = PyreqwestUpstream(max_connections=1)
    timeouts = Timeouts(connect=0.05)

    async with scripted_server(Scripted(ending=Ending.STALL, chunks=(b"one",)), OK) as server:
        target = deployment(server.base_url, timeouts=timeouts)
        first = await upstream.send(target, "responses", b"{}", stream=True)
        with pytest.raises(UpstreamUnreachable, match=r"upstream\.max_connections"):
            await ask(upstream, target)
        await first.close()
        assert await ask(upstream, target) == b"{}"

    await upstream.close()


async def test_a_changed_key_counts_from_the_next_request_on(upstream: PyreqwestUpstream) -> None:
    async with scripted_server(OK, OK) as server:
        for key in ("old", "new"):
            await ask(upstream, deployment(server.base_url, api_key=key))

    assert [headers["authorization"] for _, headers, _ in server.requests] == ["Bearer old", "Bearer new"]


async def test_chunks_arrive_before_the_next_one_is_sent(upstream: PyreqwestUpstream) -> None:
    pace = asyncio.Semaphore(0)
    got = []

    async with scripted_server(Scripted(chunks=(b"one", b"two", b"three")), pace=pace) as server:
        answer = await upstream.send(deployment(server.base_url), "responses", b"{}", stream=True)
        async for chunk in answer.chunks():
            got.append(chunk)
            pace.release()  # only now may the server go on: a buffer in between would wait forever
        await answer.close()

    assert got == [b"one", b"two", b"three"]


async def leave(server: ScriptedServer) -> None:
    async with asyncio.timeout(1):
        await server.gone.wait()


async def test_closing_a_stream_closes_its_connection(upstream: PyreqwestUpstream) -> None:
    async with scripted_server(Scripted(chunks=(b"one",), ending=Ending.STALL)) as server:
        answer = await upstream.send(deployment(server.base_url), "responses", b"{}", stream=True)
        await anext(answer.chunks())

        await answer.close()

        await leave(server)


async def test_cancelling_the_reader_of_a_stream_and_closing_it_closes_its_connection(
    upstream: PyreqwestUpstream,
) -> None:
    async with scripted_server(Scripted(ending=Ending.STALL)) as server:
        answer = await upstream.send(deployment(server.base_url), "responses", b"{}", stream=True)
        reading = asyncio.ensure_future(answer.read())
        await asyncio.sleep(0.01)

        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await answer.close()

        await leave(server)


async def test_the_total_timeout_ends_a_request_and_its_connection(upstream: PyreqwestUpstream) -> None:
    timeouts = Timeouts(total=0.05)

    async with scripted_server(Scripted(ending=Ending.SILENT)) as server:
        with pytest.raises(UpstreamTimeout, match=r"'acme' .* 0\.05 s .*timeouts\.total"):
            await ask(upstream, deployment(server.base_url, timeouts=timeouts))

        await leave(server)


async def test_the_total_timeout_ends_a_stream_that_still_sends(upstream: PyreqwestUpstream) -> None:
    timeouts = Timeouts(total=0.05)

    async with scripted_server(Scripted(chunks=(b"one",), ending=Ending.STALL)) as server:
        target = deployment(server.base_url, timeouts=timeouts)
        answer = await upstream.send(target, "responses", b"{}", stream=True)
        with pytest.raises(UpstreamTimeout, match=r"timeouts\.total"):
            await answer.read()
        await answer.close()


@pytest.mark.parametrize("stated", [True, False])
async def test_a_body_over_the_cap_is_broken(upstream: PyreqwestUpstream, stated: bool) -> None:
    headers = {"content-length": "300000"} if stated else {}

    async with scripted_server(Scripted(chunks=(b"x" * 300_000,), headers=headers)) as server:
        with pytest.raises(UpstreamBroken, match="200000 bytes"):
            await ask(upstream, deployment(server.base_url))


async def test_a_compressed_answer_is_refused(upstream: PyreqwestUpstream) -> None:
    async with scripted_server(Scripted(headers={"content-encoding": "gzip"}, chunks=(b"?",))) as server:
        with pytest.raises(UpstreamBroken, match="compressed"):
            await ask(upstream, deployment(server.base_url))


async def test_a_redirect_is_not_followed(upstream: PyreqwestUpstream) -> None:
    async with scripted_server(Scripted(status=307, headers={"location": "/elsewhere"}), OK) as server:
        with pytest.raises(UpstreamBroken, match="redirect"):
            await ask(upstream, deployment(server.base_url))

    assert len(server.requests) == 1


async def test_no_failure_tells_a_key_or_a_url(upstream: PyreqwestUpstream) -> None:
    async with scripted_server(Scripted(ending=Ending.REFUSED)) as server:
        target = deployment(server.base_url + "/secret-path", api_key="secret-key", quirks=Quirks(query="key=secret"))
        with pytest.raises(UpstreamUnreachable) as caught:
            await ask(upstream, target)

    assert "secret" not in caught.value.message
    assert "Connection refused" in caught.value.message
    assert caught.value.__suppress_context__


async def test_a_key_that_no_header_can_carry_is_a_configuration_error_that_does_not_quote_it(
    upstream: PyreqwestUpstream,
) -> None:
    with pytest.raises(ConfigError, match="'authorization' of provider 'acme'") as caught:
        await ask(upstream, deployment("http://127.0.0.1:1", api_key="secret\nkey"))

    assert "secret" not in caught.value.message


async def test_a_base_url_that_is_none_is_a_configuration_error(upstream: PyreqwestUpstream) -> None:
    with pytest.raises(ConfigError, match="`base_url` of provider 'acme'"):
        await ask(upstream, deployment("acme.example"))


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with a CA (ca.pem) and a certificate of its making for 127.0.0.1 (server.pem)."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    request = [openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    ca = ["-subj", "/CN=test", "-keyout", "ca.key", "-out", "ca.pem"]
    leaf = ["-subj", "/CN=leaf", "-keyout", "server.key", "-out", "server.pem", "-CA", "ca.pem", "-CAkey", "ca.key"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*request, *ca], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run([*request, *leaf, *names], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def server_side(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context


async def test_a_certificate_of_an_unknown_authority_is_refused(
    upstream: PyreqwestUpstream, certificates: Path
) -> None:
    async with scripted_server(OK, tls=server_side(certificates)) as server:
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await ask(upstream, deployment(server.base_url))

    assert server.requests == []


async def test_a_certificate_of_an_authority_in_the_ca_file_is_trusted(certificates: Path) -> None:
    upstream = PyreqwestUpstream(ca_file=certificates / "ca.pem")

    async with scripted_server(OK, tls=server_side(certificates)) as server:
        assert await ask(upstream, deployment(server.base_url)) == b"{}"

    await upstream.close()


async def test_a_ca_file_without_certificates_is_a_configuration_error(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing", encoding="utf-8")

    with pytest.raises(ConfigError, match="holds no PEM certificate"):
        await ask(PyreqwestUpstream(ca_file=file), deployment("https://127.0.0.1:1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        await ask(PyreqwestUpstream(ca_file=tmp_path / "none"), deployment("https://127.0.0.1:1"))


async def test_proxies_of_the_environment_are_ignored(
    upstream: PyreqwestUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async with scripted_server(OK) as server:
        assert await ask(upstream, deployment(server.base_url)) == b"{}"


async def test_a_proxy_gets_the_request_and_its_own_credentials() -> None:
    async with scripted_server(OK) as proxy:
        upstream = PyreqwestUpstream(proxy=proxy.base_url.replace("http://", "http://user:pa%40ss@"))
        assert await ask(upstream, deployment("http://acme.example/v1", api_key="sk-1")) == b"{}"

    [(line, headers, _)] = proxy.requests
    assert line == "POST http://acme.example/v1/chat/completions HTTP/1.1"
    assert headers["proxy-authorization"] == "Basic " + b64encode(b"user:pa@ss").decode()
    assert headers["authorization"] == "Bearer sk-1"
    await upstream.close()


async def test_a_proxy_that_is_not_there_makes_its_providers_unreachable_and_is_not_repeated() -> None:
    async with scripted_server(Scripted(ending=Ending.REFUSED)) as proxy:
        upstream = PyreqwestUpstream(proxy=proxy.base_url.replace("http://", "http://user:hunter2@"))
        with pytest.raises(UpstreamUnreachable, match="'acme'") as caught:
            await ask(upstream, deployment("https://acme.example/v1"))

    assert "hunter2" not in caught.value.message
    await upstream.close()


@pytest.mark.parametrize(("http2", "offered"), [(False, "http/1.1"), (True, "h2")])
async def test_http_2_is_offered_only_where_it_is_wanted(certificates: Path, http2: bool, offered: str) -> None:
    upstream, context = PyreqwestUpstream(ca_file=certificates / "ca.pem", http2=http2), server_side(certificates)
    context.set_alpn_protocols(["h2", "http/1.1"])
    chosen: list[str | None] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UpstreamError):
            await ask(upstream, deployment(f"https://127.0.0.1:{port}"))

    assert set(chosen) == {offered}
    await upstream.close()


async def test_a_closed_upstream_sends_nothing(upstream: PyreqwestUpstream) -> None:
    async with scripted_server(OK) as server:
        await upstream.close()

        with pytest.raises(UpstreamUnreachable, match="shutting down"):
            await ask(upstream, deployment(server.base_url))

    assert server.requests == []
