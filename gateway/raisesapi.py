"""Raises API: more money for a budget for a time, by administrators."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farthing.catalog import Budget, VirtualKey
from farthing.errors import InvalidParameter, NotFound
from farthing.money import format_usd
from farthing.tags import is_tag
from gateway.adminview import AdminView
from gateway.apibodies import read_members, text, usd
from gateway.periods import moment_of, parse_moment
from ledger import raises
from ledger.amendments import Raise
from ledger.budgets import divided_by

_MEMBERS = ("amount_usd", "until", "reason", "scope")


def raise_routes(
    view: AdminView, require_admin: Callable[[Request], VirtualKey], reply: Callable[..., Response]
) -> list[Route]:
    """The routes, for callers whom `require_admin` lets in."""

    async def listed(request: Request) -> Response:
        """GET /api/budgets/{id}/raises: all that were made, latest first."""
        require_admin(request)
        budget = _budget(view.budgets(), request)
        found = await run_in_threadpool(raises.of_budget, view.database, budget.id)
        now_ns = view.clock.wall_ns()
        return reply({"raises": [raise_members(one, now_ns) for one in found]})

    async def added(request: Request) -> Response:
        """POST /api/budgets/{id}/raises."""
        key = require_admin(request)
        made = await _made(request, _budget(view.budgets(), request), key, view.clock.wall_ns())
        await run_in_threadpool(raises.add, view.database, made)
        await view.on_amended()
        return reply(raise_members(made, made.made_ns), 201)

    async def ended(request: Request) -> Response:
        """DELETE /api/budgets/{id}/raises/{raise}: ends it now."""
        require_admin(request)
        now_ns = view.clock.wall_ns()
        budget, id_ = request.path_params["budget"], request.path_params["raise_id"]
        if not await run_in_threadpool(raises.end, view.database, budget, id_, now_ns=now_ns):
            raise NotFound("There is no such raise of this budget, or it is over already.")
        await view.on_amended()
        return reply({"ended": id_})

    path = "/api/budgets/{budget:path}/raises"
    return [
        Route(path, added, methods=["POST"]),
        Route(path, listed, methods=["GET"]),
        Route(path + "/{raise_id}", ended, methods=["DELETE"]),
    ]


def _budget(budgets: Sequence[Budget], request: Request) -> Budget:
    asked = request.path_params["budget"]
    for budget in budgets:
        if budget.id == asked:
            return budget
    raise NotFound("There is no budget of this id under `budgets:` in the configuration.")


async def _made(request: Request, budget: Budget, key: VirtualKey, now_ns: int) -> Raise:
    members = await read_members(request, _MEMBERS)
    return Raise(
        id=f"raise-{secrets.token_hex(8)}",
        budget=budget.id,
        scope=_scope(text(members, "scope"), budget),
        amount=usd(members, "amount_usd", above_zero=True),
        made_ns=now_ns,
        until_ns=_until(members.get("until"), now_ns),
        ended_ns=None,
        author=key.id,
        reason=text(members, "reason", required=True),
    )


def _until(given: Any, now_ns: int) -> int:
    try:
        until_ns = parse_moment(given, now_ns) if type(given) is str else 0
    except InvalidParameter:
        until_ns = 0
    if until_ns <= now_ns:
        raise InvalidParameter("`until` must be a time to come, such as 2027-01-31T18:00:00Z.", param="until")
    return until_ns


def _scope(given: str, budget: Budget) -> str:
    """The scope of an account that the budget can have; any other would raise nothing."""
    names = (*(f"{name}={value}" for name, value in budget.where), *(f"{name}=" for name in divided_by(budget)))
    pairs = given.split(",")
    good = len(pairs) == len(names) and all(
        pair.startswith(name) and (pair == name or name.endswith("=")) and is_tag(pair.partition("=")[2])
        for pair, name in zip(pairs, names, strict=True)
    )
    if given in ("", "all") or good:
        return "" if given == "all" else given
    shape = ",".join(name + "..." * name.endswith("=") for name in names) or "all"
    raise InvalidParameter(f"An account of budget '{budget.id}' has the scope {shape}.", param="scope")


def raise_members(one: Raise, now_ns: int) -> dict[str, Any]:
    """A raise for JSON."""
    state = "active" if one.counts_at(now_ns) else "over" if one.ended_ns is None else "ended"
    return {
        "id": one.id,
        "budget": one.budget,
        "scope": one.scope or "all",
        "amount_usd": format_usd(one.amount),
        "made_at": moment_of(one.made_ns).isoformat(),
        "until": moment_of(one.until_ns).isoformat(),
        "ended_at": None if one.ended_ns is None else moment_of(one.ended_ns).isoformat(),
        "author": one.author,
        "reason": one.reason,
        "state": state,
    }
