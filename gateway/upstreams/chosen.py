"""The upstream of every deployment: each request goes to the adapter that its provider names."""

from collections.abc import Callable, Mapping

from farthing.catalog import Deployment
from farthing.errors import ConfigError
from farthing.ports import Upstream, UpstreamResponse
from gateway.settings import UpstreamClient, UpstreamSettings


class Upstreams:
    """Port Upstream over several. `adapters` makes each by its name, once it is first needed: litellm takes
    seconds to import, and most installations have no use for it."""

    def __init__(self, adapters: Mapping[str, Callable[[], Upstream]]) -> None:
        self._adapters = adapters
        self._made: dict[str, Upstream] = {}

    def prepare(self, adapter: str) -> None:
        """Make an adapter now, at the start, rather than at its first request. Raises ConfigError."""
        if adapter not in self._adapters:
            raise ConfigError(
                f"There is no adapter '{adapter}': write one of {', '.join(sorted(self._adapters))} "
                "as the `adapter` of the provider."
            )
        if adapter not in self._made:
            self._made[adapter] = self._adapters[adapter]()

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> UpstreamResponse:
        """See the port; raises ConfigError for an adapter that does not exist or is not installed."""
        adapter = deployment.provider.adapter
        if adapter not in self._made:
            self.prepare(adapter)
        return await self._made[adapter].send(deployment, operation, body, stream=stream)

    async def close(self) -> None:
        made, self._made = self._made, {}
        for upstream in made.values():
            await upstream.close()


def upstreams(openai: Callable[[], Upstream]) -> Upstreams:
    """The adapters there are: `openai`, which is spoken natively by what that makes, and `litellm`."""
    return Upstreams({"openai": openai, "litellm": _litellm})


def native(settings: UpstreamSettings) -> Upstream:
    """The client of the adapter `openai`. Raises ConfigError for a CA file or a proxy that cannot be used."""
    if settings.client is UpstreamClient.PYREQWEST:
        from gateway.upstreams.pyreqwest import PyreqwestUpstream

        return PyreqwestUpstream(
            max_connections=settings.max_connections,
            ca_file=settings.ca_file,
            proxy=settings.proxy,
            http2=settings.http2,
        )
    from gateway.upstreams.relay import RelayUpstream

    return RelayUpstream(max_connections=settings.max_connections, ca_file=settings.ca_file)


def _litellm() -> Upstream:
    from gateway.upstreams.litellm import LiteLLMUpstream

    return LiteLLMUpstream()
