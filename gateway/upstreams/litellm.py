"""The borrowed wire: providers that do not speak OpenAI's format, through the optional package litellm.

litellm takes whatever keyword it is given (`api_base`, `fallbacks`, `mock_response`, credentials), so of a request
only the parameters of OpenAI's API that are listed here are passed on; anything else is refused, not dropped.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx
import orjson

from farthing.call import Endpoint
from farthing.catalog import Deployment, Provider
from farthing.errors import ConfigError, InvalidParameter, RequestError
from gateway.upstreams import failures

# fmt: off
CHAT_PARAMETERS: Final = frozenset(
    (
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "messages", "modalities", "n", "parallel_tool_calls",
        "prediction", "presence_penalty", "prompt_cache_key", "reasoning_effort", "response_format",
        "safety_identifier", "seed", "service_tier", "stop", "store", "temperature", "thinking",
        "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity",
        "web_search_options",
    )
)
# fmt: on
EMBEDDING_PARAMETERS: Final = frozenset(("input", "dimensions", "encoding_format", "user"))
_OURS: Final = frozenset(("model", "stream", "stream_options", "metadata"))
"""Settled by the gateway; OpenAI's `metadata` is a note for its own store and has no place elsewhere."""

_KEPT_HEADERS: Final = ("retry-after", "retry-after-ms", "request-id", "x-request-id")
_NOT_THE_PROVIDERS: Final = frozenset(("cost",))  # litellm's own estimate, which it puts among the provider's figures


class LiteLLMUpstream:
    """Port Upstream over litellm. Raises ConfigError where litellm is not installed.

    litellm's own name for the provider (anthropic, bedrock, vertex_ai) is the prefix of the model, `bedrock/...`, or
    the quirk `path_prefix`, or the provider's name. Serves chat completions and embeddings.
    """

    def __init__(self) -> None:
        self._litellm = _imported()
        self._known = frozenset(str(getattr(one, "value", one)) for one in self._litellm.provider_list)

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> "_Answer":
        """See the port. An error answer of the provider comes as an OpenAI envelope under its status."""
        try:
            call = self._call(deployment, operation, orjson.loads(body), stream=stream)
        except RequestError as error:
            return _Answer(deployment.provider, status=error.status, body=orjson.dumps(error.envelope()))
        provider = deployment.provider
        deadline = asyncio.get_running_loop().time() + provider.timeouts.total
        try:
            async with asyncio.timeout(provider.timeouts.first_byte):
                result = await call
        except TimeoutError:
            raise failures.timed_out(provider, "first_byte") from None
        except Exception as error:  # noqa: BLE001 - litellm raises whatever its providers' packages raise
            return _refusal(provider, error)
        if stream:
            return _Answer(provider, chunks=result, deadline=deadline)
        return _Answer(provider, body=orjson.dumps(_cleaned(result.model_dump(mode="json", exclude_none=True))))

    async def close(self) -> None:
        from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

        await GLOBAL_LOGGING_WORKER.stop()
        await self._litellm.close_litellm_async_clients()

    def _call(self, deployment: Deployment, operation: str, body: Mapping[str, Any], *, stream: bool) -> Any:
        provider = deployment.provider
        common = {
            "model": self._model(deployment),
            "api_base": provider.base_url or None,
            "api_key": provider.api_key or None,
            "extra_headers": dict(provider.headers) or None,
            "timeout": httpx.Timeout(provider.timeouts.total, connect=provider.timeouts.connect),
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": False,
        }
        if operation == Endpoint.CHAT:
            chat = _allowed(body, CHAT_PARAMETERS)
            _refuse_links(chat.get("messages"))
            if stream:
                chat |= {"stream": True, "stream_options": {"include_usage": True}}
            # Else every call with tools needs the package mcp, for a gateway of litellm's own.
            return self._litellm.acompletion(**chat, **common, _skip_mcp_handler=True)
        if operation == Endpoint.EMBEDDINGS:
            return self._litellm.aembedding(**_allowed(body, EMBEDDING_PARAMETERS), **common)
        raise RequestError(
            f"Provider '{provider.name}' serves chat/completions and embeddings; {operation} needs a provider "
            "with `adapter: openai`."
        )

    def _model(self, deployment: Deployment) -> str:
        """The model with litellm's prefix: its own, else the provider's `path_prefix`, else the provider's name."""
        model, provider = deployment.model, deployment.provider
        if model.partition("/")[0] in self._known:
            return model
        return f"{provider.quirks.path_prefix or provider.name}/{model}"


class _Answer:
    """Port UpstreamResponse over an answer of litellm: a whole body, or chunks to be written as events."""

    def __init__(
        self,
        provider: Provider,
        *,
        status: int = 200,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        chunks: Any = None,
        deadline: float = 0,
    ) -> None:
        self._provider, self._status, self._body = provider, status, body
        self._chunks, self._deadline = chunks, deadline
        kind = "application/json" if chunks is None else "text/event-stream"
        self._headers = {**(headers or {}), "content-type": kind}

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._chunks is None:
            yield self._body
            return
        usage: dict[str, Any] | None = None
        async for chunk in self._pulled():
            event = _cleaned(chunk.model_dump(mode="json", exclude_none=True))
            if "usage" in event:
                usage = {**event, "choices": []}
                del event["usage"]
            if _says_something(event):
                yield _event(event)
        if usage is not None:
            yield _event(usage)
        yield b"data: [DONE]\n\n"

    async def close(self) -> None:
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            await chunks.aclose()

    async def _pulled(self) -> AsyncIterator[Any]:
        """The chunks, each within the idle and the total timeout."""
        timeouts, loop = self._provider.timeouts, asyncio.get_running_loop()
        while True:
            left = self._deadline - loop.time()
            try:
                async with asyncio.timeout(min(timeouts.idle, left)):
                    chunk = await anext(self._chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise failures.timed_out(self._provider, "idle" if timeouts.idle < left else "total") from None
            except Exception as error:  # noqa: BLE001 - see above
                raise failures.broken(self._provider, f"broke off its answer ({type(error).__name__})") from None
            yield chunk


def _imported() -> Any:
    """The package, made to keep to itself."""
    # Read by litellm at import: without it the package fetches a price list from the network. This is the one place
    # that writes to the environment.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    try:
        import litellm
    except ImportError:
        raise ConfigError(
            "A provider has `adapter: litellm`, but litellm is not installed: install farthing[providers]."
        ) from None
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.drop_params = False
    litellm.num_retries = 0
    litellm.disable_aiohttp_transport = True  # one transport whatever else is installed
    for kind in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        setattr(litellm, kind, [])
    return litellm


def _allowed(body: Mapping[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    for name in body:
        if name not in allowed and name not in _OURS:
            raise InvalidParameter(
                f"The parameter '{name[:64]}' is not understood by the provider of this model.", param=name[:64]
            )
    return {name: value for name, value in body.items() if name in allowed}


def _refuse_links(messages: Any) -> None:
    """litellm fetches what a link in a message points to, from within our network: only inline data may pass."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict) or (part.get("type") != "text" and _has_link(part)):
                raise InvalidParameter(
                    "Links to images and files cannot be sent to the provider of this model: send the content "
                    "itself as a data: URL.",
                    param="messages",
                )


def _has_link(part: Any) -> bool:
    if isinstance(part, dict):
        return any(_has_link(value) for name, value in part.items() if name != "text")
    if isinstance(part, list):
        return any(map(_has_link, part))
    return isinstance(part, str) and ":" in part and not part.startswith("data:")


def _refusal(provider: Provider, error: Exception) -> _Answer:
    """The provider's error answer; raises where there was none."""
    for cause in _causes(error):
        if isinstance(cause, httpx.HTTPStatusError):
            return _error_answer(provider, cause.response.status_code, cause.response.headers, error)
        if isinstance(cause, httpx.ConnectTimeout):
            raise failures.connect_timed_out(provider) from None
        if isinstance(cause, httpx.ConnectError):
            raise failures.unreachable(provider, str(cause)) from None
        if isinstance(cause, httpx.TimeoutException):
            raise failures.timed_out(provider, "total") from None
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 500:  # litellm's own: it knows that the provider would refuse
        return _error_answer(provider, status, {}, error)
    raise failures.broken(provider, f"could not answer ({type(error).__name__})") from None


def _error_answer(provider: Provider, status: int, headers: Mapping[str, str], error: Exception) -> _Answer:
    kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
    kind = "invalid_request_error" if status < 500 and status != 429 else "api_error"
    told = {"message": _message(provider, error), "type": kind, "param": None, "code": None}
    return _Answer(provider, status=status, headers=kept, body=orjson.dumps({"error": told}))


def _message(provider: Provider, error: Exception) -> str:
    """The provider's own sentence where there is one, never with its key."""
    text = next((told for cause in _causes(error) if (told := _sentence(cause))), "")
    text = text or str(getattr(error, "message", error)).partition("\n")[0]
    return (text.replace(provider.api_key, "***") if provider.api_key else text)[:1000]


def _sentence(cause: BaseException) -> str:
    """`error.message` of the body of an error answer, in which all providers with JSON errors agree."""
    if not isinstance(cause, httpx.HTTPStatusError):
        return ""
    try:
        return str(orjson.loads(cause.response.content)["error"]["message"])
    except (ValueError, KeyError, TypeError, httpx.StreamError):
        return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _cleaned(answer: dict[str, Any]) -> dict[str, Any]:
    if usage := answer.get("usage"):
        answer["usage"] = {name: value for name, value in usage.items() if name not in _NOT_THE_PROVIDERS}
    return answer


def _says_something(event: Mapping[str, Any]) -> bool:
    """False for the empty choice in which litellm wraps its usage."""
    return any(choice.get("finish_reason") or choice.get("delta") for choice in event.get("choices", ()))


def _event(event: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"
