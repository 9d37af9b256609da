"""The wire for HTTP/2 and proxies: OpenAI-shaped requests through pyreqwest (Rust's reqwest)."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ClientClosedError,
    ConnectTimeoutError,
    PoolTimeoutError,
    PyreqwestError,
    RequestError,
    RequestTimeoutError,
)
from pyreqwest.http import HeaderMap, Url
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from farthing.catalog import Deployment, Provider
from farthing.errors import ConfigError, FarthingError, UpstreamUnreachable
from gateway.upstreams import failures
from gateway.upstreams.authorities import trust
from gateway.version import own_version

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_BUFFERED_BYTES: Final = 65536
"""What pyreqwest reads of a plain answer before it gives out the head: so much needs no further wait."""

_NO_CONNECTION: Final = "client error (Connect)"  # hyper's word for: failed before anything was sent
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class PyreqwestUpstream:
    """Port Upstream over pyreqwest.

    Plain answers are read up to `max_body_bytes`. At most `max_connections` are open to one provider; a request
    that finds none free within `timeouts.connect` counts as one to an unreachable provider. TLS is verified
    against the roots of the system and those of `ca_file` (PEM). `proxy` is an address, which may hold a name and a
    password; none is taken from the environment. No redirect is followed, nothing decompressed. Raises ConfigError
    for a file or a proxy that cannot be used.

    A plain answer comes with its first 64 KiB, so there `timeouts.first_byte` covers the body too.

    A request that is cancelled before its head has arrived cannot be called back: pyreqwest lets it run on,
    at most until `timeouts.total`. A stream is cut at its first bytes; a plain answer is made, and billed.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_connections: int | None = None,
        ca_file: Path | None = None,
        proxy: str = "",
        http2: bool = False,
    ) -> None:
        self._max_body_bytes, self._max_connections = max_body_bytes, max_connections
        self._authorities = _certificates(ca_file) if ca_file else []
        self._proxy, self._http2 = proxy, http2
        if proxy:
            _through(proxy)
        self._agent = f"farthing/{own_version()}"
        self._clients: dict[tuple[str, float], Client] = {}  # by provider and connect timeout
        self._wires: dict[str, _Wire] = {}
        self._closed = False

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> "_Answer":
        """See the port. A provider that breaks off before its answer raises UpstreamBroken."""
        wire = self._wire(deployment.provider)
        built = wire.client.post(wire.url(operation)).headers(wire.headers).body_bytes(body).timeout(wire.total)
        if stream:
            built = built.streamed_read_buffer_limit(0)
        request = built.build_streamed()
        try:
            async with asyncio.timeout(wire.first_byte):
                response = await request.__aenter__()
        except RequestError as error:
            raise _told(error, wire.provider) from None
        except TimeoutError:
            raise failures.timed_out(wire.provider, "first_byte") from None
        answer = _Answer(request, response, wire.provider, self._max_body_bytes)
        if (fault := answer.fault()) is not None:
            await answer.close()
            raise fault
        return answer

    async def close(self) -> None:
        """Close every client: one left open would abort the interpreter at its exit."""
        self._closed = True
        clients, self._clients, self._wires = self._clients, {}, {}
        for client in clients.values():
            await client.close()

    def _wire(self, provider: Provider) -> "_Wire":
        wire = self._wires.get(provider.name)
        if wire is None or wire.provider is not provider:
            wire = self._wires[provider.name] = _Wire(provider, self._client(provider), self._agent)
        return wire

    def _client(self, provider: Provider) -> Client:
        if self._closed:
            raise UpstreamUnreachable("The gateway is shutting down.")
        key = provider.name, provider.timeouts.connect
        if key not in self._clients:
            self._clients[key] = self._build_client(timedelta(seconds=provider.timeouts.connect))
        return self._clients[key]

    def _build_client(self, connect: timedelta) -> Client:
        builder = (
            ClientBuilder()
            .connect_timeout(connect)
            .max_connections(self._max_connections)
            .pool_timeout(connect)
            .http2(self._http2)
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
        )
        builder = builder.proxy(_through(self._proxy)) if self._proxy else builder.no_proxy()
        for certificate in self._authorities:
            builder = builder.add_root_certificate_pem(certificate)
        return builder.build()


class _Wire:
    """What is the same in every request to one provider, prepared once."""

    __slots__ = ("_base", "_query", "_urls", "client", "first_byte", "headers", "provider", "total")

    def __init__(self, provider: Provider, client: Client, agent: str) -> None:
        self.provider, self.client = provider, client
        self.headers = _headers(provider, agent)
        self.first_byte = provider.timeouts.first_byte
        self.total = timedelta(seconds=provider.timeouts.total)
        prefix = provider.quirks.path_prefix.strip("/")
        self._base = provider.base_url.rstrip("/") + (f"/{prefix}/" if prefix else "/")
        self._query = f"?{provider.quirks.query.lstrip('?')}" if provider.quirks.query else ""
        self._urls: dict[str, Url] = {}

    def url(self, operation: str) -> Url:
        if operation not in self._urls:
            try:
                self._urls[operation] = Url(f"{self._base}{operation}{self._query}")
            except ValueError:
                raise ConfigError(
                    f"The `base_url` of provider '{self.provider.name}' is not a URL: write it as https://host/path."
                ) from None
        return self._urls[operation]


class _Answer:
    """Port UpstreamResponse: an answer whose head is there."""

    __slots__ = ("_done", "_max_body_bytes", "_provider", "_request", "_response")

    def __init__(self, request: StreamRequest, response: Response, provider: Provider, max_body: int) -> None:
        self._request, self._response = request, response
        self._provider, self._max_body_bytes = provider, max_body
        self._done = False

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    def fault(self) -> FarthingError | None:
        """Why this answer cannot be relayed at all, if so."""
        if 300 <= self.status < 400:
            return failures.broken(
                self._provider,
                f"answered with a redirect ({self.status}); none is followed: correct its `base_url`",
            )
        if self._response.get_header("content-encoding") not in (None, "", "identity"):
            return failures.broken(self._provider, "compressed its answer, though it was asked not to")
        if self._stated_length() > self._max_body_bytes:
            return self._too_large()
        return None

    async def read(self) -> bytes:
        if 0 <= self._stated_length() <= _BUFFERED_BYTES:
            return await self._read_short()
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_large()
            parts.append(chunk)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        reader, idle = self._response.body_reader, self._provider.timeouts.idle
        while True:
            try:
                async with asyncio.timeout(idle):
                    chunk = await reader.read_chunk()
            except RequestError as error:
                raise _told(error, self._provider) from None
            except TimeoutError:
                raise failures.timed_out(self._provider, "idle") from None
            if chunk is None:
                self._done = True
                return
            yield bytes(chunk)

    async def close(self) -> None:
        if not self._done:
            self._done = True
            await self._request.__aexit__(None, None, None)

    async def _read_short(self) -> bytes:
        """A body so short, by its own Content-Length, that one read may wait for all of it."""
        try:
            async with asyncio.timeout(self._provider.timeouts.idle):
                body = bytes(await self._response.bytes())
        except RequestError as error:
            raise _told(error, self._provider) from None
        except TimeoutError:
            raise failures.timed_out(self._provider, "idle") from None
        self._done = True
        return body

    def _stated_length(self) -> int:
        """The Content-Length, or -1."""
        length = self._response.get_header("content-length")
        return int(length) if length is not None and length.isdecimal() else -1

    def _too_large(self) -> FarthingError:
        return failures.broken(self._provider, f"sent a body of more than {self._max_body_bytes} bytes")


def _headers(provider: Provider, agent: str) -> HeaderMap:
    quirks = provider.quirks
    headers = {"content-type": "application/json", "user-agent": agent}
    if provider.api_key:
        headers[quirks.key_header.lower()] = quirks.key_scheme + provider.api_key
    headers |= {name.lower(): value for name, value in provider.headers}
    headers["accept-encoding"] = "identity"  # the bytes are relayed as they come
    for name, value in headers.items():
        try:
            HeaderMap([(name, value)])
        except ValueError:  # its message quotes the value, which may be the key
            raise ConfigError(
                f"The header '{name}' of provider '{provider.name}' cannot be sent: its name or its value (where "
                "it carries the key, the key) holds a character that HTTP forbids, such as a line break."
            ) from None
    return HeaderMap(headers)


def _told(error: PyreqwestError, provider: Provider) -> FarthingError:
    """Translate; pyreqwest's own message names the URL, so only its innermost cause is kept."""
    details = getattr(error, "details", None) or {}
    causes = [cause["message"] for cause in details.get("causes") or ()]
    cause = next((text for text in reversed(causes) if "://" not in text), "cause unknown")
    if _NO_CONNECTION in causes:
        if isinstance(error, ConnectTimeoutError):
            return failures.connect_timed_out(provider)
        return failures.unreachable(provider, cause)
    if isinstance(error, PoolTimeoutError):
        return failures.none_free(provider)
    if isinstance(error, RequestTimeoutError):
        return failures.timed_out(provider, "total")
    if isinstance(error, ClientClosedError):
        return failures.broken(provider, "was cut off, because the gateway is shutting down")
    return failures.broken(provider, f"broke off its answer ({cause})")


def _certificates(file: Path) -> list[bytes]:
    """Every certificate of a PEM bundle: the client takes them one by one, and finds faults only when it is built."""
    trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), file)
    return _PEM.findall(file.read_bytes())


def _through(proxy: str) -> ProxyBuilder:
    try:
        return ProxyBuilder.all(proxy)
    except ValueError:  # its message could quote the address, which may hold a password
        raise ConfigError("The address under `upstream.proxy` is none: write http://HOST:PORT.") from None
