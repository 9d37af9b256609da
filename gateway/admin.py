"""Admin: every path that is not hot: health, metrics, the admin API and the pages, as one Starlette
application."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import msgspec
import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farthing.catalog import Right, VirtualKey
from farthing.errors import (
    AuthenticationError,
    FarthingError,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
)
from farthing.money import format_usd
from farthing.record import Record
from gateway.adminview import AdminView, MetricsAccess, Problem
from gateway.cacheapi import cache_routes
from gateway.chargesapi import charge_routes
from gateway.explainapi import explain_routes
from gateway.exposition import CONTENT_TYPE
from gateway.pages.figures import read_budgets
from gateway.pages.routes import find_record, page_routes, tell_absent
from gateway.raisesapi import raise_members, raise_routes
from gateway.request import read_secret
from gateway.runsapi import run_routes
from gateway.spendquery import as_members, check_ledger, read_query
from gateway.tasksapi import task_routes
from ledger.adjustments import Adjustment, adjustments_of

__all__ = ["AdminView", "MetricsAccess", "Problem", "admin_app"]

_HEADERS: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


def admin_app(view: AdminView) -> Starlette:
    """The application; unknown paths get OpenAI's error envelope with 404."""
    doors = Doors(view)
    app = Starlette(
        routes=[
            Route("/healthz", doors.healthz),
            Route("/readyz", doors.readyz),
            Route("/metrics", doors.metrics),
            Route("/api/records/{request_id}", doors.for_admins(doors.record)),
            Route("/api/spend", doors.for_admins(doors.spend)),
            Route("/api/budgets", doors.for_admins(doors.budgets)),
            *raise_routes(view, doors.require_admin, reply),
            *run_routes(view, reply),
            *task_routes(view, doors.require_admin, reply),
            *(charge_routes(view.charges, doors.require_admin, reply) if view.charges else ()),
            *(cache_routes(view, view.caches, doors.require_admin, reply) if view.caches else ()),
            *(explain_routes(view.explain, view.find_key, doors.require_admin, reply) if view.explain else ()),
            *page_routes(view),
        ],
        exception_handlers={
            FarthingError: _farthing_error,
            HTTPException: _http_error,
            Exception: _unexpected,
        },
    )
    # A path is what it says: no redirect may turn `/x/` into another one.
    app.router.redirect_slashes = False
    return app


def reply(members: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON that nobody caches."""
    body = orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, headers={**_HEADERS, **(headers or {})}, media_type="application/json")


class Doors:
    """The endpoints over one view."""

    def __init__(self, view: AdminView) -> None:
        self._view = view

    def for_admins(self, show: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint for callers with an admin key as bearer token."""

        async def guarded(request: Request) -> Response:
            self.require_admin(request)
            return await show(request)

        return guarded

    def require_admin(self, request: Request) -> VirtualKey:
        """The caller's key. Raises AuthenticationError or PermissionDenied."""
        key = self._view.authenticate(read_secret(request.scope["headers"]))
        if Right.ADMIN not in key.rights:
            raise PermissionDenied(f"The key '{key.id}' may not use the admin API: give it the right `admin`.")
        return key

    def _is_admin(self, request: Request) -> bool:
        try:
            self.require_admin(request)
        except (AuthenticationError, PermissionDenied):
            return False
        return True

    async def healthz(self, _: Request) -> Response:
        """200 as long as the process answers; tells nothing else."""
        return reply({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Whether calls can be served. Everybody learns the reasons in one word each, admins in a
        sentence."""
        problems = await run_in_threadpool(self._view.problems)
        ready = not any(problem.blocking for problem in problems)
        members: dict[str, Any] = {"status": "ready" if ready else "not ready"}
        members["reasons"] = sorted({problem.reason for problem in problems})
        if problems and self._is_admin(request):
            members["problems"] = [asdict(problem) for problem in problems]
        return reply(members, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self, request: Request) -> Response:
        """The Prometheus page, for those whom `metrics_access` admits."""
        access = self._view.metrics_access()
        if access is MetricsAccess.KEY:
            self.require_admin(request)
        elif access is MetricsAccess.LOOPBACK and not _from_this_machine(request):
            raise PermissionDenied(
                "Metrics are shown to this machine only: set server.metrics_access to `key` (and send "
                "an admin key) or `open`."
            )
        page = await run_in_threadpool(self._view.render_metrics)
        return Response(page, headers={**_HEADERS, "content-type": CONTENT_TYPE})

    async def record(self, request: Request) -> Response:
        """GET /api/records/{id}: one row of the ledger."""
        request_id = request.path_params["request_id"]
        record = await run_in_threadpool(find_record, self._view, request_id)
        if record is None:
            raise NotFound(await run_in_threadpool(tell_absent, self._view, request_id))
        corrections = await run_in_threadpool(adjustments_of, self._view.database, record.id)
        return reply({**record_members(record), "adjustments": [adjustment_members(one) for one in corrections]})

    async def spend(self, request: Request) -> Response:
        """GET /api/spend?by=feature,tier&since=30d&until=&where=feature=search (where may come again)."""
        asked = request.query_params
        query = read_query(
            by=asked.get("by", "feature"),
            since=asked.get("since", "30d"),
            until=asked.get("until", ""),
            where=asked.getlist("where"),
            now_ns=self._view.clock.wall_ns(),
        )
        rows = await run_in_threadpool(query.answer, self._view.database)
        return reply({"by": query.by, "rows": [as_members(row, query.by) for row in rows]})

    async def budgets(self, _: Request) -> Response:
        """GET /api/budgets: the accounts of every budget in their present windows, fullest first."""
        database = self._view.database
        check_ledger(database)
        now_ns = self._view.clock.wall_ns()
        lines = await run_in_threadpool(read_budgets, database, self._view.budgets(), now_ns)
        return reply(
            {
                "budgets": [
                    {
                        "budget": line.budget,
                        "scope": line.scope,
                        "window": line.window,
                        "limit_usd": format_usd(line.limit),
                        "spent_usd": format_usd(line.spent),
                        "reserved_usd": format_usd(line.held),
                        "resets_at": line.resets_at,
                        "raises": [raise_members(one, now_ns) for one in line.raises],
                    }
                    for line in lines
                ]
            }
        )


def record_members(record: Record) -> dict[str, Any]:
    """A record for JSON; amounts as integer nano-dollars and as exact decimal USD."""
    members: dict[str, Any] = msgspec.to_builtins(record)
    members["rates"] = orjson.loads(record.rates or "{}")
    for billed in filter(None, (attempt.get("billed") for attempt in members["attempts"])):
        billed["rates"] = orjson.loads(billed["rates"])
    for name in ("cost", "avoided_cache", "avoided_routing"):
        members[f"{name}_usd"] = format_usd(members[name])
    stated = record.stated_cost
    members["stated_cost_usd"] = None if stated is None else format_usd(stated)
    return members


def adjustment_members(adjustment: Adjustment) -> dict[str, Any]:
    """A later correction of a record's cost for JSON."""
    members = asdict(adjustment)
    members["rates"], members["extras"] = orjson.loads(adjustment.rates), orjson.loads(adjustment.extras)
    for name in ("old_cost", "new_cost", "delta"):
        members[f"{name}_usd"] = format_usd(members[name])
    return members


def _from_this_machine(request: Request) -> bool:
    """True for a connection from a loopback address that no proxy passed on.

    Headers are never believed in favour of a caller, but one that a proxy adds shows that the caller is
    elsewhere.
    """
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _farthing_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, FarthingError)
    return reply(error.envelope(), error.status, dict(error.retry))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = MethodNotAllowed() if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else NotFound()
    return reply(known.envelope(), known.status, dict(error.headers or {}))


async def _unexpected(_: Request, error: Exception) -> Response:
    del error  # its text may hold anything; the server logs the traceback
    return reply(FarthingError().envelope(), FarthingError.status)
