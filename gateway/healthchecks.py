"""Health checks: asks providers now and then whether they are there, for those whose configuration wants it.

A check is a GET that costs nothing. It opens breakers and closes those that want of a connection or of health had
opened; that calls are answered well is for calls to show.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from farthing.catalog import HealthCheck, Provider
from farthing.ports import Clock
from gateway.balancing import Balancer
from gateway.settings import UpstreamSettings
from gateway.tasks import Background
from gateway.upstreams.authorities import trust
from gateway.version import own_version

_LOG: Final = logging.getLogger("farthing.deployments")
LONGEST_S: Final = 10.0
"""A provider that takes longer to say that it is there is not."""
FAILURES: Final = 2
"""So many checks in a row must fail; a connection that cannot be made is enough by itself."""
_SAYS_NO: Final = frozenset({401, 402, 403})
_SAYS_NOTHING: Final = frozenset({404, 405, 410, 429})


@dataclass(slots=True)
class _Watch:
    """What is known of the checks of one provider. `due` is monotonic seconds."""

    due: float = 0.0
    failures: int = 0
    is_running: bool = False
    has_warned: bool = False


class HealthChecks:
    """Checks the providers of the balancer's deployments, each no sooner than its last check has ended. `client` makes
    what asks, once it is first needed."""

    def __init__(self, clock: Clock, balancer: Balancer, client: Callable[[], httpx.AsyncClient]) -> None:
        self._clock, self._balancer, self._make = clock, balancer, client
        self._client: httpx.AsyncClient | None = None
        self._watches: dict[str, _Watch] = {}
        self._background = Background()

    def tick(self) -> None:
        """Begin the checks that are due; returns at once."""
        now = self._clock.monotonic()
        for provider, health in self._wanted().values():
            watch = self._watches.setdefault(provider.name, _Watch())
            if not watch.is_running and now >= watch.due:
                watch.is_running, watch.due = True, now + health.every_s
                self._background.start(self._check(provider, health, watch))

    async def close(self) -> None:
        """Stop the checks that run."""
        await self._background.settle(0)
        if self._client is not None:
            await self._client.aclose()

    def _wanted(self) -> dict[str, tuple[Provider, HealthCheck]]:
        found = ((line.provider, line.provider.health) for line in self._balancer.lines.values())
        return {provider.name: (provider, health) for provider, health in found if health is not None}

    async def _check(self, provider: Provider, health: HealthCheck, watch: _Watch) -> None:
        try:
            if self._client is None:
                # Reading the trusted authorities takes some 20 ms of CPU: not for the loop.
                client = await asyncio.to_thread(self._make)
                if self._client is None:
                    self._client = client
                else:
                    await client.aclose()
            self._take(provider, watch, await _ask(self._client, provider, health))
        finally:
            watch.is_running = False

    def _take(self, provider: Provider, watch: _Watch, status: int) -> None:
        """0: no connection, or no answer in time."""
        if status in _SAYS_NOTHING or 300 <= status < 400:
            if not watch.has_warned and status != 429:
                watch.has_warned = True
                _LOG.warning(
                    "the health check of provider %s gets status %d, which says nothing: correct `health.path`",
                    *(provider.name, status),
                )
            return
        lines = [line for line in self._balancer.lines.values() if line.provider.name == provider.name]
        now = self._clock.monotonic()
        if status and status < 500 and status not in _SAYS_NO:
            watch.failures = 0
            for line in lines:
                if line.breaker.clear(now):
                    line.note_recovery()
            return
        watch.failures += 1
        if status and watch.failures < FAILURES:
            return
        what = f"status {status} at its health check" if status else "no answer at its health check"
        for line in lines:
            line.note_opening(line.breaker.suspect(now), what)


async def _ask(client: httpx.AsyncClient, provider: Provider, health: HealthCheck) -> int:
    """The status of one check, 0 for none. The body is not read."""
    try:
        async with asyncio.timeout(min(LONGEST_S, health.every_s)):
            async with client.stream("GET", address_of(provider, health), headers=_headers(provider)) as response:
                return response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError):
        return 0


def address_of(provider: Provider, health: HealthCheck) -> str:
    """Below the base URL, or with a leading slash below the server's root; with the provider's own query."""
    parts = urlsplit(provider.base_url)
    prefix = provider.quirks.path_prefix.strip("/")
    below = f"{parts.path.rstrip('/')}{'/' + prefix if prefix else ''}/{health.path}"
    path = health.path if health.path.startswith("/") else below
    query = provider.quirks.query.lstrip("?")
    return f"{parts.scheme}://{parts.netloc}{path}{'?' + query if query else ''}"


def _headers(provider: Provider) -> dict[str, str]:
    quirks = provider.quirks
    key = {quirks.key_header: quirks.key_scheme + provider.api_key} if provider.api_key else {}
    return {"user-agent": f"farthing/{own_version()}", **key, **dict(provider.headers)}


def health_client(settings: UpstreamSettings) -> httpx.AsyncClient:
    """A client that reaches providers as calls do; follows no redirect. Raises ConfigError for a CA file that cannot be
    used."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        trust(context, settings.ca_file)
    return httpx.AsyncClient(verify=context, proxy=settings.proxy or None, trust_env=False, follow_redirects=False)
