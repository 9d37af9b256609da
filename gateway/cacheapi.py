"""Cache API: what the caches did and what lies in them, and answers to be served no more, by administrators."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cache.epochs import Purge
from farthing.catalog import VirtualKey
from farthing.errors import CacheUnavailable, InvalidParameter
from gateway.adminview import AdminView
from gateway.apibodies import Members, read_members, tag
from gateway.cachebooks import read_cache_books
from gateway.cachedesk import CacheDesk
from gateway.cachemembers import books_members, store_members
from gateway.periods import parse_moment
from gateway.spendquery import check_ledger

_LOG: Final = logging.getLogger("farthing.cache")
_SCOPES: Final = ("tenant", "feature", "tag")
_EVERYTHING: Final = "everything"


def cache_routes(
    view: AdminView, caches: CacheDesk, require_admin: Callable[[Request], VirtualKey], reply: Callable[..., Response]
) -> list[Route]:
    """The routes, for callers whom `require_admin` lets in."""

    async def shown(request: Request) -> Response:
        """GET /api/cache?since=30d&until=: what the caches did for each feature; the store of all workers; what
        happened in the one that answers."""
        require_admin(request)
        asked, now_ns = request.query_params, view.clock.wall_ns()
        since_ns = parse_moment(asked.get("since") or "30d", now_ns)
        until_ns = parse_moment(asked["until"], now_ns) if asked.get("until") else now_ns + 1
        return reply(
            {
                **await run_in_threadpool(_books_members, view, since_ns, until_ns),
                **await cache_members(caches),
            }
        )

    async def purged(request: Request) -> Response:
        """POST /api/cache/purge."""
        key = require_admin(request)
        what = purge_of(await read_members(request, (*_SCOPES, _EVERYTHING)))
        try:
            done = await caches.epochs.purge(what)
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            _LOG.error("cache purge of %s by key %s failed: %s", what, key.id, type(error).__name__)
            raise CacheUnavailable from None
        _LOG.warning("cache purge of %s by key %s", done, key.id)  # a warning, so that every log level has it
        return reply({"purged": purge_members(done)})

    return [
        Route("/api/cache", shown),
        Route("/api/cache/purge", purged, methods=["POST"]),
    ]


def purge_of(members: Members) -> Purge:
    """What a body names. Raises InvalidTag or InvalidParameter."""
    what = Purge(**{name: tag(members, name) for name in _SCOPES})
    everything = members.get(_EVERYTHING, False)
    if type(everything) is not bool:
        raise InvalidParameter("`everything` must be true or false.", param=_EVERYTHING)
    if everything == (what != Purge()):
        raise InvalidParameter("Name tenant, feature or tag, or several of them; or say everything: true, alone.")
    return what


def purge_members(what: Purge) -> dict[str, Any]:
    """A purge for JSON."""
    named = {name: value for name, value in asdict(what).items() if value}
    return named or {_EVERYTHING: True}


def _books_members(view: AdminView, since_ns: int, until_ns: int) -> dict[str, Any]:
    check_ledger(view.database)
    books = read_cache_books(view.database, view.semantic(), view.caching(), since_ns=since_ns, until_ns=until_ns)
    return books_members(books, since_ns=since_ns, until_ns=until_ns)


async def cache_members(caches: CacheDesk) -> dict[str, Any]:
    """What lies in the caches for JSON."""
    store = await store_members(caches.exact.store)
    worker = {**asdict(caches.exact.counts), "flights": len(caches.flights), "purge_errors": caches.epochs.errors}
    return {"store": store, "purges": caches.epochs.purges, "worker": worker}
