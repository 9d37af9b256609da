"""Runs API: opened with a cap of their own, looked at and closed by any key of their tenant that may call."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farthing.catalog import Budget, Right, VirtualKey, Window
from farthing.errors import InvalidParameter, NotFound, PermissionDenied, UnregisteredFeature
from farthing.money import Nano, format_usd
from farthing.tags import Tags
from gateway.adminview import AdminView
from gateway.apibodies import Members, read_members, tag, usd
from gateway.periods import moment_of
from gateway.request import read_secret
from gateway.settings.scalars import duration
from ledger import runs
from ledger.budgets import most_for_a_run
from ledger.runs import RunAccount

_MEMBERS: Final = ("run", "cap_usd", "feature", "ttl")
_TTL: Final = duration("1s", "366d", whole_seconds=True)


def run_routes(view: AdminView, reply: Callable[..., Response]) -> list[Route]:
    """The routes."""

    def caller(request: Request) -> VirtualKey:
        key = view.authenticate(read_secret(request.scope["headers"]))
        if Right.CALL not in key.rights:
            raise PermissionDenied(f"The key '{key.id}' may not use runs: give it the right `call`.")
        return key

    async def found(tenant: str, name: str) -> RunAccount:
        run = await run_in_threadpool(runs.look_up, view.database, view.budgets(), tenant=tenant, name=name)
        if run is None:
            raise NotFound("The tenant of this key has no such run.")
        return run

    async def opened(request: Request) -> Response:
        """POST /api/runs: opens a run, or changes the cap of an open one."""
        key = caller(request)
        members = await read_members(request, _MEMBERS)
        name, cap = tag(members, "run", required=True), usd(members, "cap_usd", above_zero=True)
        feature = _feature(members, key, view)
        _check_cap(cap, view.budgets(), key, feature, name)
        now_ns, ttl_s = view.clock.wall_ns(), _ttl(members)
        await run_in_threadpool(
            runs.open_,
            view.database,
            tenant=key.tenant,
            name=name,
            cap=cap,
            feature=feature,
            author=key.id,
            until_ns=None if ttl_s is None else now_ns + ttl_s * 10**9,
            now_ns=now_ns,
        )
        await view.on_amended()
        return reply(run_members(await found(key.tenant, name), now_ns), 201)

    async def shown(request: Request) -> Response:
        """GET /api/runs/{run}."""
        key = caller(request)
        run = await found(key.tenant, request.path_params["run"])
        return reply(run_members(run, view.clock.wall_ns()))

    async def closed(request: Request) -> Response:
        """POST /api/runs/{run}/close."""
        key, now_ns = caller(request), view.clock.wall_ns()
        name = (await found(key.tenant, request.path_params["run"])).run.name
        await run_in_threadpool(runs.close, view.database, tenant=key.tenant, name=name, now_ns=now_ns)
        await view.on_amended()
        return reply(run_members(await found(key.tenant, name), now_ns))

    return [
        Route("/api/runs", opened, methods=["POST"]),
        Route("/api/runs/{run:path}/close", closed, methods=["POST"]),
        Route("/api/runs/{run:path}", shown, methods=["GET"]),
    ]


def _feature(members: Members, key: VirtualKey, view: AdminView) -> str:
    feature = tag(members, "feature")
    if feature and feature not in view.features():
        raise UnregisteredFeature(param="feature")
    if feature and key.features and feature not in key.features:
        raise PermissionDenied(f"The key '{key.id}' may not book to feature '{feature}'.", param="feature")
    return feature or key.feature


def _check_cap(cap: Nano, budgets: Sequence[Budget], key: VirtualKey, feature: str, name: str) -> None:
    """Whoever may call may not grant himself more than the platform team allows a run."""
    tags = Tags(
        tenant=key.tenant,
        key_id=key.id,
        feature=feature,
        task=key.task,
        run=name,
        environment=key.environment,
        team=key.team,
    )
    for budget in budgets:
        most = most_for_a_run(budget)
        if budget.window is Window.RUN and budget.binds(tags) and cap > most:
            raise InvalidParameter(
                f"Budget '{budget.id}' allows a run {format_usd(most)} USD at most: ask for less, or have the platform "
                "team raise its `max_run_usd`.",
                param="cap_usd",
            )


def _ttl(members: Members) -> int | None:
    if members.get("ttl") is None:
        return None
    try:
        return int(_TTL.parse(members["ttl"]))
    except PydanticCustomError:
        raise InvalidParameter(
            "`ttl` must be a duration from 1s to 366d, such as 30m, 2h or 7d.", param="ttl"
        ) from None


def run_members(found: RunAccount, now_ns: int) -> dict[str, Any]:
    """A run for JSON."""
    run = found.run
    return {
        "run": run.name,
        "state": found.state_at(now_ns).value,
        "cap_usd": format_usd(found.cap),
        "spent_usd": format_usd(found.spent),
        "held_usd": format_usd(found.held),
        "left_usd": format_usd(found.left),
        "feature": run.feature,
        "opened_at": _moment(run.opened_ns),
        "closes_at": _moment(run.until_ns),
        "closed_at": _moment(run.closed_ns),
    }


def _moment(ns: int | None) -> str | None:
    return None if ns is None else moment_of(ns).isoformat()
