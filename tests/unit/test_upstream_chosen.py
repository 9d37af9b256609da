from importlib.util import find_spec

import pytest

from farthing.catalog import Deployment, Provider
from farthing.errors import ConfigError
from gateway.upstreams.chosen import Upstreams, upstreams
from gateway.upstreams.testing import Scripted, ScriptedUpstream


def deployment(adapter: str) -> Deployment:
    provider = Provider(name="p", adapter=adapter, base_url="http://unused")
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
        await upstreams().send(deployment("grpc"), "embeddings", b"{}", stream=False)


@pytest.mark.skipif(find_spec("litellm") is not None, reason="litellm is installed")
def test_a_missing_litellm_is_a_configuration_error_that_names_the_extra() -> None:
    with pytest.raises(ConfigError, match=r"install farthing\[providers\]"):
        upstreams().prepare("litellm")
