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
from farthing.value import Value
from gateway.admission import COMPLETIONS_DEFAULT_CAP
from gateway.jsonbody import with_changes

_NO_CHANGES: Final[Mapping[str, Any]] = MappingProxyType({})
_TRY_ELSEWHERE: Final = frozenset({402, 408, 409, 429, 500, 502, 503, 504, 529})
"""402: the gateway's own account there is out of money, which is no concern of the caller."""
UNFINISHED: Final = "unfinished"
"""The error of an attempt whose end nobody waited for."""
_CAP_FIELDS: Final = {Endpoint.COMPLETIONS: "max_tokens", Endpoint.RESPONSES: "max_output_tokens"}


class Cooldowns:
    """Deployments that failed a moment ago, by id; they are tried last until the time is over."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._until: dict[str, float] = {}

    def start(self, deployment: str) -> None:
        """Rest a deployment."""
        self._until[deployment] = self._clock.monotonic() + self._seconds

    def end(self, deployment: str) -> None:
        """It answered: rest it no more."""
        if self._until:
            self._until.pop(deployment, None)

    def __contains__(self, deployment: object) -> bool:
        if not self._until:
            return False
        return self._until.get(str(deployment), 0.0) > self._clock.monotonic()


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

    async def pay_failure(self, forwarded: Forwarded) -> None:
        """Charge what a failed attempt says that it billed, and see to it that the next one is held as whole as it was.
        Raises MoneyError: then there is to be none."""


class Forwarder:
    """Sends calls; fails over before the first byte on connection errors, 429 and 5xx, `max_attempts` in all. `shape`
    tells what else a body should say to a deployment."""

    def __init__(
        self,
        upstream: Upstream,
        clock: Clock,
        cooldowns: Cooldowns,
        max_attempts: int,
        shape: Callable[[Call, Deployment], Mapping[str, Any]] = lambda _call, _deployment: _NO_CHANGES,
    ) -> None:
        self.upstream = upstream
        self.shape = shape
        self._clock = clock
        self._cooldowns = cooldowns
        self._max_attempts = max_attempts

    async def send(
        self, call: Call, deployments: tuple[Deployment, ...], cap: int, attempts: list[Attempt], meter: FailureMeter
    ) -> Forwarded:
        """The first response worth relaying (the last one, if none is). Appends to `attempts` as they happen; `meter`
        is asked before each further one.

        Raises UpstreamUnreachable or UpstreamTimeout where the last attempt had no response, MoneyError where there is
        no money for a further one.
        """
        tries = deployments[: self._max_attempts]
        for number, deployment in enumerate(tries, start=1):
            last = number == len(tries)
            body = upstream_body(call, deployment, cap, self.shape(call, deployment))
            started = self._clock.monotonic()
            attempts.append(Attempt(deployment=deployment.id, status=0, error=UNFINISHED, seconds=0.0))
            try:
                response = await self.upstream.send(deployment, call.endpoint.value, body, stream=call.stream)
            except UpstreamError as error:
                self._note(attempts, deployment, 0, error.code, started)
                self._cooldowns.start(deployment.id)
                # A timeout may have been billed: another try would need a second hold.
                if last or not isinstance(error, UpstreamUnreachable):
                    raise
                continue
            if response.status < 400:
                self._note(attempts, deployment, response.status, "", started)
                self._cooldowns.end(deployment.id)
                return Forwarded(deployment=deployment, response=response, started=started)
            self._note(attempts, deployment, response.status, f"http_{response.status}", started)
            if response.status in _TRY_ELSEWHERE:
                self._cooldowns.start(deployment.id)
                if not last:
                    try:
                        await meter.pay_failure(Forwarded(deployment=deployment, response=response, started=started))
                    finally:
                        await response.close()
                    continue
            return Forwarded(deployment=deployment, response=response, started=started)
        raise UpstreamUnreachable("The tier has no deployment.")

    def _note(self, attempts: list[Attempt], place: Deployment, status: int, error: str, started: float) -> None:
        seconds = self._clock.monotonic() - started
        attempts[-1] = Attempt(deployment=place.id, status=status, error=error, seconds=seconds)


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
