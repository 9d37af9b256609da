from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from farthing.catalog import Deployment, Provider, Timeouts
from farthing.errors import ConfigError, UpstreamUnreachable
from gateway.settings import UpstreamClient, UpstreamSettings
from gateway.upstreams.chosen import Upstreams, native, upstreams
from gateway.upstreams.pyreqwest import PyreqwestUpstream
from gateway.upstreams.relay import RelayUpstream
from gateway.upstreams.testing import Ending, Scripted, ScriptedUpstream, scripted_server

RELAY = UpstreamSettings(
    client=UpstreamClient.RELAY,
    max_connections=1,
    ca_file=None,
    proxy="",
    http2=False,
    timeouts=Timeouts(),
    max_attempts=1,
)
PYREQWEST = replace(RELAY, client=UpstreamClient.PYREQWEST)


def deployment(adapter: str, base_url: str = "http://unused") -> Deployment:
    provider = Provider(name="p", adapter=adapter, base_url=base_url, timeouts=Timeouts(connect=0.05))
    return Deployment(name="m", provider=provider, model="m")


async def test_each_request_goes_to_the_adapter_of_its_provider() -> None:
    one, two = ScriptedUpstream(Scripted(chunks=(b"1",))), ScriptedUpstream(Scripted(chunks=(b"2",)))
    chosen = Upstreams({"openai": lambda: one, "litellm": lambda: two})

    answer = await chosen.send(deployment("litellm"), "embeddings", b"{}", stream=False)

    assert await answer.read() == b"2"
    assert (len(one.sent), len(two.sent)) == (0, 1)


async def test_an_adapter_is_made_once_and_only_when_it_is_needed() -> None:
    made = []

    def make() -> ScriptedUpstream:
        made.append(ScriptedUpstream(Scripted(), Scripted()))
        return made[-1]

    chosen = Upstreams({"openai": make, "litellm": make})
    assert made == []

    for _ in range(2):
        await chosen.send(deployment("openai"), "embeddings", b"{}", stream=False)
    await chosen.close()

    assert [upstream.closed for upstream in made] == [True]


async def test_an_unknown_adapter_is_a_configuration_error_that_names_the_known() -> None:
    with pytest.raises(ConfigError, match="'grpc': write one of litellm, openai"):
        await upstreams(ScriptedUpstream).send(deployment("grpc"), "embeddings", b"{}", stream=False)


@pytest.mark.skipif(find_spec("litellm") is not None, reason="litellm is installed")
def test_a_missing_litellm_is_a_configuration_error_that_names_the_extra() -> None:
    with pytest.raises(ConfigError, match=r"install farthing\[providers\]"):
        upstreams(ScriptedUpstream).prepare("litellm")


async def test_the_settings_choose_the_client_of_the_native_wire() -> None:
    relay, other = native(RELAY), native(PYREQWEST)

    assert (type(relay), type(other)) == (RelayUpstream, PyreqwestUpstream)
    await relay.close()
    await other.close()


@pytest.mark.parametrize("settings", [RELAY, PYREQWEST], ids=["relay", "pyreqwest"])
async def test_either_client_opens_no_more_connections_than_the_settings_allow(settings: UpstreamSettings) -> None:
    upstream = native(settings)

    async with scripted_server(Scripted(ending=Ending.STALL, chunks=(b"one",))) as server:
        target = deployment("openai", server.base_url)
        first = await upstream.send(target, "responses", b"{}", stream=True)
        with pytest.raises(UpstreamUnreachable, match=r"upstream\.max_connections"):
            await upstream.send(target, "responses", b"{}", stream=True)
        await first.close()

    await upstream.close()


@pytest.mark.parametrize("settings", [RELAY, PYREQWEST], ids=["relay", "pyreqwest"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read"),
        ("nothing", "holds no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no PEM certificate, or a broken one"),
    ],
)
def test_a_ca_file_that_cannot_be_used_is_found_before_anything_is_sent(
    tmp_path: Path, settings: UpstreamSettings, text: str | None, problem: str
) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=f"ca.pem .*{problem}"):
        native(replace(settings, ca_file=file))


def test_a_proxy_that_is_no_address_is_found_before_anything_is_sent_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"`upstream\.proxy`") as caught:
        native(replace(PYREQWEST, proxy="http://user:hunter2@a b"))

    assert "hunter2" not in caught.value.message
