"""Forward: a call to the first deployment that takes it, with every attempt noted."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

import orjson

from farthing.call import Call, Endpoint
from farthing.catalog import Deployment, Feature
from farthing.errors import InvalidParameter, UpstreamError, UpstreamUnreachable
from farthing.ports import Clock, Upstream, UpstreamResponse
from farthing.record import Attempt
from farthing.routing import Route
from farthing.value import Value
from gateway.admission import COMPLETIONS_DEFAULT_CAP
from gateway.balancing import Balancer, Line, Watched
from gateway.jsonbody import with_changes
from gateway.retryhints import wait_of
from router_policies.breaker import Fault

_NO_CHANGES: Final[Mapping[str, Any]] = MappingProxyType({})
_TRY_ELSEWHERE: Final = frozenset({401, 402, 403, 408, 409, 429, 500, 502, 503, 504, 529})
"""401, 402, 403: the gateway's own key or account there is not good for the call, which is no concern of the caller."""
_OF_THE_ACCOUNT: Final = frozenset({401, 402})
"""What every other call to that deployment would get as well. A 403 may be about this prompt."""
UNFINISHED: Final = "unfinished"
"""The error of an attempt whose end nobody waited for."""
TOO_MANY: Final = 429
_CAP_FIELDS: Final = {Endpoint.COMPLETIONS: "max_tokens", Endpoint.RESPONSES: "max_output_tokens"}


def output_cap(call: Call, feature: Feature) -> int:
    """Output tokens that one choice may have: the client's cap, else the feature's, which we write into the body."""
    if call.output_cap is not None:
        return call.output_cap
    return COMPLETIONS_DEFAULT_CAP if call.endpoint is Endpoint.COMPLETIONS else feature.max_output_tokens


def upstream_body(call: Call, deployment: Deployment, cap: int, also: Mapping[str, Any] = _NO_CHANGES) -> bytes:
    """The client's own bytes, but for the model's name, a cap where none was given, the usage we ask for, and what
    `also` is to be set."""
    refuse_escapes(call, deployment)
    changes: dict[str, Any] = {}
    if call.model != deployment.model:
        changes["model"] = deployment.model
    if call.endpoint is not Endpoint.EMBEDDINGS:
        changes |= _cap_changes(call, deployment, cap)
    if asks_usage_for_us(call) and deployment.provider.quirks.stream_usage:
        changes["stream_options"] = {**(call.body.get("stream_options") or {}), "include_usage": True}
    return with_changes(call.raw, {**changes, **also})


def _cap_changes(call: Call, deployment: Deployment, cap: int) -> dict[str, Any]:
    """A cap where the client gave none, and the client's own under the older name where the provider knows only that:
    Ollama and DeepSeek pass over max_completion_tokens and answer at length (ollama/ollama #7125,
    earendil-works/pi #8018)."""
    field = _CAP_FIELDS.get(call.endpoint, deployment.provider.quirks.output_cap_field)
    if call.output_cap is None:
        return {field: cap}
    if call.endpoint is Endpoint.CHAT and field == "max_tokens" and call.body.get(field) is None:
        return {field: cap, "max_completion_tokens": None}  # both at once is an error to some
    return {}


def asks_usage_for_us(call: Call) -> bool:
    """True for a stream whose client did not ask for usage, at an endpoint where one must ask."""
    return call.stream and not call.wants_usage and call.endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS)


def refuse_escapes(call: Call, deployment: Deployment) -> None:
    """Raises InvalidParameter for a field that would let the cost outgrow its hold at this provider."""
    for name in deployment.provider.quirks.cap_escapes:
        if name in call.body:
            raise InvalidParameter(
                f"At this provider `{name}` can change which model is billed, or how much output: leave it out, and "
                "say it with model, max_tokens and n.",
                param=name,
            )


class Forwarded(Value, frozen=True, kw_only=True):
    """A response whose head has arrived. `started` is monotonic seconds at sending."""

    deployment: Deployment
    response: UpstreamResponse
    started: float

    @property
    def streams(self) -> bool:
        """True where the body is a stream of events; some servers answer a stream request with plain JSON."""
        return self.response.headers.get("content-type", "").startswith("text/event-stream")


class FailureMeter(Protocol):
    """Pays for attempts that fail."""

    def turn_to(self, tier: str) -> None:
        """The next attempt is at another tier."""

    async def pay_failure(self, forwarded: Forwarded) -> None:
        """Charge what a failed attempt says that it billed, and see to it that the next one is held as whole as it was.
        Raises MoneyError: then there is to be none."""


class Forwarder:
    """Sends calls to the deployments that `balancer` names; fails over before the first byte on connection errors, 429,
    5xx and what concerns the gateway's own account. `shape` tells what else a body should say to a deployment."""

    def __init__(
        self,
        upstream: Upstream,
        clock: Clock,
        balancer: Balancer,
        shape: Callable[[Call, Deployment], Mapping[str, Any]] = lambda _call, _deployment: _NO_CHANGES,
    ) -> None:
        self.upstream = upstream
        self.shape = shape
        self.balancer = balancer
        self._clock = clock

    async def send(self, call: Call, route: Route, cap: int, attempts: list[Attempt], meter: FailureMeter) -> Forwarded:
        """The first response worth relaying (the last one, if none is). Appends to `attempts` as they happen; `meter`
        is asked before each further one.

        Raises UpstreamUnreachable or UpstreamTimeout where the last attempt had no response, MoneyError where there is
        no money for a further one.
        """
        tries, present = self.balancer.tries(route, call), route.tier
        for number, (deployment, line, tier) in enumerate(tries):
            if self.balancer.is_passed_over(tries, number):
                continue
            if tier != present:
                present = tier
                meter.turn_to(tier)
            last = number + 1 == len(tries)
            body = upstream_body(call, deployment, cap, self.shape(call, deployment))
            started = self._clock.monotonic()
            attempts.append(Attempt(deployment=deployment.id, status=0, error=UNFINISHED, seconds=0.0))
            try:
                response = await self._sent(call, deployment, line, body)
            except UpstreamError as error:
                self._note(attempts, deployment, 0, error.code, started)
                # A timeout may have been billed: another try would need a second hold.
                if last or not isinstance(error, UpstreamUnreachable):
                    raise
            else:
                status = response.status
                self._note(attempts, deployment, status, "" if status < 400 else f"http_{status}", started)
                forwarded = Forwarded(deployment=deployment, response=response, started=started)
                if last or status not in _TRY_ELSEWHERE:
                    return forwarded
                try:
                    await meter.pay_failure(forwarded)
                finally:
                    await response.close()
            if line is not None:
                line.failovers += 1
        raise UpstreamUnreachable("The tier has no deployment.")

    async def _sent(self, call: Call, deployment: Deployment, line: Line | None, body: bytes) -> UpstreamResponse:
        """The answer of one deployment, whose line learns what comes of it."""
        if line is None:
            return await self.upstream.send(deployment, call.endpoint.value, body, stream=call.stream)
        passage = self.balancer.enter(line)
        try:
            response = await self.upstream.send(deployment, call.endpoint.value, body, stream=call.stream)
        except UpstreamError as error:
            passage.fail(_fault_of(error), error.code)
            passage.leave()
            raise
        except BaseException:
            passage.leave()
            raise
        status = response.status
        if status < 500 and status not in _TRY_ELSEWHERE:
            passage.answer()
        else:
            wait_s = wait_of(response.headers, self._clock.wall_ns()) if status == TOO_MANY else None
            passage.fail(_fault_at(status, wait_s), f"http_{status}", wait_s)
        return Watched(response, passage)

    def _note(self, attempts: list[Attempt], place: Deployment, status: int, error: str, started: float) -> None:
        seconds = self._clock.monotonic() - started
        attempts[-1] = Attempt(deployment=place.id, status=status, error=error, seconds=seconds)


def _fault_of(error: UpstreamError) -> Fault:
    """A full pool of ours says nothing of the provider, and a gateway that ends says nothing at all."""
    return Fault.UNREACHABLE if type(error) is UpstreamUnreachable else Fault.ERROR


def _fault_at(status: int, wait_s: float | None) -> Fault:
    if status in _OF_THE_ACCOUNT:
        return Fault.REFUSED
    return Fault.LIMITED if wait_s else Fault.ERROR


def error_body(status: int, raw: bytes) -> bytes:
    """The provider's own error where it is in OpenAI's form, else an envelope that says what came instead."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    if type(parsed) is dict and type(parsed.get("error")) is dict:
        return raw
    message = parsed.get("error") or parsed.get("message") or parsed.get("detail") if type(parsed) is dict else None
    if type(message) is not str:
        message = f"The model provider answered with status {status} and no readable error."
    error = {"message": message, "type": "upstream_error", "param": None, "code": "upstream_error"}
    return orjson.dumps({"error": error})
