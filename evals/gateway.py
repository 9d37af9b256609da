"""The gateway as an eval sees it: one chat request in, one answer with its cost out."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

import httpx

from evals.revisions import revision_of
from evals.suite import Item
from farthing.money import ZERO, Nano, nano_from_usd

TIMEOUT_S: Final = 300.0
MESSAGE_MAX: Final = 300
HOPELESS: Final = frozenset({400, 401, 402, 403, 404})
"""Statuses with which the gateway itself refuses what it would refuse again: a tag, a key, a budget, a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. `text` is "" where the model said nothing, `tool_calls` as the API gave them; `cache` as the
    gateway's header says. `fingerprint` is what the provider says of its revision of the model (`evals.revisions`)."""

    text: str
    model: str
    cache: str
    cost: Nano
    finish_reason: str
    fingerprint: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How the questions of a run are tagged. `fresh` refuses stored answers."""

    feature: str
    task: str
    run_id: str
    fresh: bool

    def headers(self) -> dict[str, str]:
        """The request headers that say so; the run's budget scope is `eval-<run id>`."""
        tags = {
            "x-farthing-feature": self.feature,
            "x-farthing-task": self.task,
            "x-farthing-run": f"eval-{self.run_id}",
        }
        return {**tags, "cache-control": "no-cache"} if self.fresh else tags


class AskFailed(Exception):
    """The item got no answer. `code` is short and holds nothing of the prompt; `cost` is what it cost all the same,
    nano-dollars."""

    def __init__(self, code: str, cost: Nano = ZERO) -> None:
        super().__init__(code)
        self.code, self.cost = code, cost


class RunStopped(Exception):
    """Nothing further will be answered either: the run ends here. The message says what to do."""


def connect(base_url: str, api_key: str, *, timeout_s: float = TIMEOUT_S) -> httpx.AsyncClient:
    """A client of the gateway at `base_url` (with its /v1). Whoever gets it closes it."""
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/",
        headers={"authorization": f"Bearer {api_key}"},
        timeout=timeout_s,
        trust_env=False,
    )


async def ask(client: httpx.AsyncClient, item: Item, tier: str, asking: Asking) -> Answer:
    """The tier's answer to the item.

    Raises AskFailed (this item only) or RunStopped (budget, key, unknown tier, or not a Farthing gateway).
    """
    response, body = await post(client, "chat/completions", {"model": f"tier/{tier}", **item.body()}, asking)
    _check_origin(response, tier, asking.feature)
    return _answer(response, body)


async def post(
    client: httpx.AsyncClient, path: str, body: Mapping[str, Any], asking: Asking
) -> tuple[httpx.Response, Mapping[str, Any]]:
    """What the gateway answers to a call of the run, with its JSON. Raises AskFailed or RunStopped."""
    try:
        response = await client.post(path, json=body, headers=asking.headers())
    except httpx.TimeoutException as error:
        raise AskFailed("timeout") from error
    except httpx.TransportError as error:
        raise AskFailed("unreachable") from error
    answered = _json(response)
    if response.status_code != httpx.codes.OK:
        _refuse(response, answered)
    return response, answered


def _json(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, Mapping) else {}


def _refuse(response: httpx.Response, body: Mapping[str, Any]) -> NoReturn:
    """Raises the error that a refusal means for the run."""
    error = body.get("error")
    told = error if isinstance(error, Mapping) else {}
    code = str(told.get("code") or f"http_{response.status_code}")[:64]
    by_gateway = response.headers.get("x-farthing-error-source", "gateway") == "gateway"
    if by_gateway and response.status_code in HOPELESS:
        message = str(told.get("message") or "")[:MESSAGE_MAX]
        raise RunStopped(f"the gateway answered {response.status_code} {code}: {message}".rstrip(": "))
    raise AskFailed(code)


def _check_origin(response: httpx.Response, tier: str, feature: str) -> None:
    """Raises RunStopped where it was not the tier that answered: its score would be another's."""
    served = response.headers.get("x-farthing-tier", tier)
    if served != tier:
        raise RunStopped(
            f"tier {tier} was asked, but {served} answered: let feature {feature} follow the client's model"
        )
    if response.headers.get("x-farthing-cache") == "semantic":
        raise RunStopped(f"a semantic cache answered: turn semantic_cache off for feature {feature}")


def _answer(response: httpx.Response, body: Mapping[str, Any]) -> Answer:
    try:
        choice = body["choices"][0]
        text = choice["message"].get("content") or ""
        calls = choice["message"].get("tool_calls") or ()
        finish_reason = str(choice.get("finish_reason") or "")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise AskFailed("malformed_answer", _told_cost(response.headers)) from error
    if not isinstance(text, str) or not isinstance(calls, list | tuple):
        raise AskFailed("malformed_answer", _told_cost(response.headers))
    return Answer(
        text=text,
        model=response.headers.get("x-farthing-model", ""),
        cache=response.headers.get("x-farthing-cache", ""),
        cost=cost_of(response.headers),
        finish_reason=finish_reason,
        fingerprint=revision_of(body).text,
        tool_calls=tuple(call for call in calls if isinstance(call, Mapping)),
    )


def _told_cost(headers: httpx.Headers) -> Nano:
    """What an answer cost that is none, as far as that is told."""
    try:
        return cost_of(headers)
    except RunStopped:
        return ZERO


def cost_of(headers: httpx.Headers) -> Nano:
    """What the call cost; without it no budget can be kept, so the run stops."""
    try:
        return nano_from_usd(Decimal(headers["x-farthing-cost-usd"]))
    except (KeyError, InvalidOperation, ValueError, OverflowError) as error:
        raise RunStopped("no x-farthing-cost-usd in the answer: is base_url a Farthing gateway?") from error
