import asyncio
from pathlib import Path

import pytest

from farthing.errors import ConfigError, UpstreamUnreachable
from gateway.upstreams.relay import RelayUpstream
from tests.unit.relay_client_setup import OK, Act, ask, deployment, make_certificates, plain, raw_server, server_side


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with a CA (ca.pem) and a certificate of its making for 127.0.0.1 (server.pem)."""
    if not make_certificates(tmp_path, "IP:127.0.0.1"):
        pytest.skip("openssl is not installed")
    return tmp_path


async def test_an_authority_in_the_ca_file_is_trusted_and_its_connection_is_kept(certificates: Path) -> None:
    upstream = RelayUpstream(ca_file=certificates / "ca.pem")

    async with raw_server(OK, plain(b"x" * 300_000), tls=server_side(certificates)) as server:
        assert await ask(upstream, deployment(server.base_url)) == b"{}"
        assert await ask(upstream, deployment(server.base_url)) == b"x" * 300_000

    assert server.connections == 1
    await upstream.close()


async def test_a_certificate_of_an_unknown_authority_is_refused(certificates: Path) -> None:
    upstream = RelayUpstream()

    async with raw_server(OK, tls=server_side(certificates)) as server:
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await ask(upstream, deployment(server.base_url))

    assert server.requests == []
    await upstream.close()


async def test_a_certificate_of_another_host_is_refused(certificates: Path) -> None:
    upstream = RelayUpstream(ca_file=certificates / "ca.pem")

    async with raw_server(OK, tls=server_side(certificates)) as server:
        with pytest.raises(UpstreamUnreachable, match=r"certificate.*[Mm]ismatch"):
            await ask(upstream, deployment(server.base_url.replace("127.0.0.1", "localhost")))

    assert server.requests == []
    await upstream.close()


async def test_only_http_1_1_is_offered(certificates: Path) -> None:
    upstream, context = RelayUpstream(ca_file=certificates / "ca.pem"), server_side(certificates)
    context.set_alpn_protocols(["h2", "http/1.1"])

    async with raw_server(OK, tls=context) as server:
        await ask(upstream, deployment(server.base_url))
        chosen = server.writers[0].get_extra_info("ssl_object").selected_alpn_protocol()

    assert chosen == "http/1.1"
    await upstream.close()


async def test_a_provider_that_hangs_up_leaves_nothing_open(certificates: Path) -> None:
    upstream = RelayUpstream(ca_file=certificates / "ca.pem")
    until_close = Act((b"HTTP/1.1 200 OK\r\n\r\nall",), "close")

    async with raw_server(until_close, OK, Act(then="close"), OK, tls=server_side(certificates)) as server:
        target = deployment(server.base_url)
        assert await ask(upstream, target) == b"all"
        assert await ask(upstream, target) == b"{}"
        assert await ask(upstream, target) == b"{}"  # sent again after the drop

    assert server.connections == 3
    await upstream.close()


async def test_speaking_tls_to_a_server_without_it_is_unreachable() -> None:
    upstream = RelayUpstream()

    async def greet(reader: object, writer: object) -> None:
        writer.write(b"220 this is a mail server\r\n" * 10)  # type: ignore[attr-defined]
        writer.close()  # type: ignore[attr-defined]

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        with pytest.raises(UpstreamUnreachable, match="TLS: "):
            await ask(upstream, deployment(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"))

    await upstream.close()


async def test_a_ca_file_without_certificates_is_a_configuration_error(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing", encoding="utf-8")

    with pytest.raises(ConfigError, match="holds no PEM certificate"):
        await ask(RelayUpstream(ca_file=file), deployment("https://127.0.0.1:1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        await ask(RelayUpstream(ca_file=tmp_path / "none"), deployment("https://127.0.0.1:1"))
