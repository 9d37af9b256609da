"""The relay's own wire: OpenAI-shaped requests over HTTP/1.1 on asyncio and httptools, nothing in between."""

import asyncio
import ssl
from pathlib import Path
from typing import Final

from farthing.catalog import Deployment, Provider
from farthing.ports import UpstreamResponse
from gateway.upstreams import failures
from gateway.upstreams.answer import Answer
from gateway.upstreams.authorities import trust
from gateway.upstreams.pool import SHUTTING_DOWN, Pool
from gateway.upstreams.wire import Origin, Wire
from gateway.version import own_version

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_CONNECTIONS: Final = 256


class RelayUpstream:
    """Port Upstream over HTTP/1.1 connections that are kept and used again.

    Plain answers are read up to `max_body_bytes`. At most `max_connections` are open to one provider; a request
    that finds none free within `timeouts.connect` counts as one to an unreachable provider. TLS is verified
    against the roots of the system and those of `ca_file` (PEM), which is read at once: raises ConfigError. There is
    no proxy and no HTTP/2; no redirect is followed, nothing decompressed.

    A cancelled request and an answer closed before its end close their connection at once, so that the provider
    stops. A request on a kept connection that proves to have been closed meanwhile is sent once more on a new one
    (docs/adr/0006-own-relay-client.md).
    """

    def __init__(
        self,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_connections: int = MAX_CONNECTIONS,
        ca_file: Path | None = None,
    ) -> None:
        self._max_body_bytes, self._max_connections = max_body_bytes, max_connections
        self._agent = f"farthing/{own_version()}"
        self._routes: dict[str, tuple[Wire, Pool]] = {}
        self._pools: dict[tuple[str, Origin], Pool] = {}
        self._tls = _tls_context(ca_file) if ca_file else None
        self._closed = False

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> UpstreamResponse:
        """See the port. A provider that breaks off before its answer raises UpstreamBroken."""
        provider, loop = deployment.provider, asyncio.get_running_loop()
        wire, pool = self._route(provider, loop)
        request = wire.request(operation, body)
        answer = Answer(provider, loop, self._max_body_bytes)
        connection = pool.idle() or await pool.connect(provider)
        if not await answer.head(connection, request):
            connection = await pool.connect(provider, fresh=True)
            await answer.head(connection, request)
        if (fault := answer.fault()) is not None:
            await answer.close()
            raise fault
        return answer

    async def close(self) -> None:
        """Close every connection and wait until each is closed."""
        self._closed = True
        pools, self._pools, self._routes = self._pools, {}, {}
        for pool in pools.values():
            await pool.close()

    def _route(self, provider: Provider, loop: asyncio.AbstractEventLoop) -> tuple[Wire, Pool]:
        route = self._routes.get(provider.name)
        if route is None or route[0].provider is not provider:
            if self._closed:
                raise failures.NoneFree(SHUTTING_DOWN)
            wire = Wire(provider, self._agent)
            route = self._routes[provider.name] = wire, self._pool(provider.name, wire.origin, loop)
        return route

    def _pool(self, name: str, origin: Origin, loop: asyncio.AbstractEventLoop) -> Pool:
        """A pool outlives the configuration that named its provider first: a reload closes no connection."""
        pool = self._pools.get((name, origin))
        if pool is None:
            tls = self._context() if origin.tls else None
            pool = self._pools[name, origin] = Pool(origin, self._max_connections, tls, loop)
        return pool

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = _tls_context(None)
        return self._tls


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        trust(context, ca_file)
    return context
