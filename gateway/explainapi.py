"""Explain API: POST /api/explain, the questions of `farthing explain` to a running gateway."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from farthing.call import Endpoint
from farthing.catalog import VirtualKey
from farthing.errors import InvalidParameter
from gateway.apibodies import Members, read_members, tag, text
from gateway.explaindesk import NOBODY, ExplainDesk
from gateway.explaintold import members
from gateway.request import Request, read_tags

MOST_BYTES: Final = 2**20
"""Of the question, the body in it included."""
_MEMBERS: Final = ("request_id", "feature", "task", "model", "endpoint", "headers", "key", "body")
_WITH_BODY: Final = ("endpoint", "headers", "key", "body")


def explain_routes(
    desk: ExplainDesk,
    find_key: Callable[[str], VirtualKey | None],
    require_admin: Callable[[HttpRequest], VirtualKey],
    reply: Callable[..., Response],
) -> list[Route]:
    """The route."""

    async def explained(request: HttpRequest) -> Response:
        """POST /api/explain: a row of the ledger, a feature with task and model, or a whole request."""
        require_admin(request)
        asked = await read_members(request, _MEMBERS, MOST_BYTES)
        check_alone(asked)
        if "request_id" in asked:
            found = await run_in_threadpool(desk.of_record, text(asked, "request_id", required=True))
        elif "body" in asked:
            key = _key(asked, find_key)
            body = orjson.dumps(_object(asked, "body"))
            made = request_of(
                body,
                headers=_object(asked, "headers"),
                endpoint=text(asked, "endpoint"),
                received_ns=desk.clock.wall_ns(),
            )
            found = await desk.of_request(made, key)
        else:
            found = await run_in_threadpool(
                desk.of_names,
                feature=tag(asked, "feature", required=True),
                task=tag(asked, "task"),
                model=text(asked, "model") or "auto",
            )
        return reply(members(found))

    return [Route("/api/explain", explained, methods=["POST"])]


def check_alone(asked: Members) -> None:
    """One question at a time. Raises InvalidParameter."""
    kinds = [name for name in ("request_id", "feature", "body") if name in asked]
    others = {"request_id": (), "feature": ("task", "model"), "body": _WITH_BODY}
    if len(kinds) != 1:
        raise InvalidParameter("Give one of `request_id`, `feature` and `body`: that is the question.")
    [kind] = kinds
    for name in asked:
        if name != kind and name not in others[kind]:
            raise InvalidParameter(f"`{name}` does not go with `{kind}`.", param=name)


def request_of(body: bytes, *, headers: Mapping[str, Any], endpoint: str, received_ns: int) -> Request:
    """The request in a question: of its headers those that carry tags are read. Raises InvalidParameter, InvalidTag."""
    known = [one.value for one in Endpoint]
    if endpoint and endpoint not in known:
        raise InvalidParameter(f"`endpoint` must be one of {', '.join(known)}.", param="endpoint")
    named = []
    for name, value in headers.items():
        if type(value) is not str:
            raise InvalidParameter(f"The header `{name[:80]}` must be a text.", param="headers")
        named.append((name.lower().encode("utf-8", "replace"), value.encode("utf-8", "replace")))
    tags = read_tags(named)
    return Request(
        id="explain",
        endpoint=Endpoint(endpoint) if endpoint else Endpoint.CHAT,
        body=body,
        received_ns=received_ns,
        started=0.0,
        feature=tags.get("feature", ""),
        task=tags.get("task", ""),
        run=tags.get("run", ""),
        environment=tags.get("environment", ""),
    )


def _object(asked: Members, name: str) -> Mapping[str, Any]:
    value = asked.get(name, {})
    if type(value) is not dict:
        raise InvalidParameter(f"`{name}` must be an object.", param=name)
    return value


def _key(asked: Members, find_key: Callable[[str], VirtualKey | None]) -> VirtualKey:
    name = tag(asked, "key")
    if not name:
        return NOBODY
    key = find_key(name)
    if key is None:
        raise InvalidParameter(f"There is no key of the id '{name}'.", param="key")
    return key
