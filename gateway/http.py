"""The door: bytes in, Answer out. Hot routes are served here in plain ASGI; everything else goes to the rest."""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Any, Final
from urllib.parse import unquote

import orjson

from farthing.call import Endpoint
from farthing.errors import (
    BodyTooLarge,
    FarthingError,
    HeadersTooLarge,
    MethodNotAllowed,
    ModelNotFound,
    UnsupportedEncoding,
)
from gateway.admission import authenticate
from gateway.answer import Answer
from gateway.ids import new_request_id
from gateway.models import model_list, one_model
from gateway.pipeline import refuse, serve
from gateway.request import RawHeaders, Request, framing, read_head, read_secret, relevant
from gateway.runtime import Runtime
from gateway.wire import WHOLE_ANSWER

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOT: Final = {f"/v1/{endpoint.value}".encode(): endpoint for endpoint in Endpoint}
_MODELS: Final = b"/v1/models"
_ASKS_FOR_A_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')
"""Only a key can look like this: inside a text the quotes are escaped."""
_JSON: Final = (b"content-type", b"application/json")
_CLOSE: Final = (b"connection", b"close")
_OURS: Final = (b"x-farthing-error-source", b"gateway")

REPEAT_CANCEL_S: Final = 0.05
LINGER_S: Final = 1.0


class HangUpWatch:
    """Cancels the block when the client leaves, so that its upstream stops within a moment.

    Like asyncio.timeout, the cancellation that it caused ends with the block. It is repeated until the block ends: a
    library that had its result ready at the same moment may swallow one (pyreqwest 0.15 does).
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._cancellations = 0

    def __enter__(self) -> "HangUpWatch":
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._watcher = asyncio.create_task(self._watch())  # noqa: TID251 - ends with this block
        return self

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        while True:
            self._cancellations += 1
            self._task.cancel()
            await asyncio.sleep(REPEAT_CANCEL_S)

    def stop(self) -> None:
        """Watch no more."""
        self._watcher.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.stop()
        left = self._task.cancelling()
        for _ in range(self._cancellations):
            left = self._task.uncancel()
        return self._cancellations > 0 and left == 0 and kind is asyncio.CancelledError


class ClientGone(Exception):
    """The client left before its request was complete; nothing was admitted, so there is nothing to record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the door reads at most."""

    body_bytes: int
    header_bytes: int
    headers: int


class Door:
    """The ASGI application. Paths are matched by their raw bytes, so no spelling of a path slips past."""

    def __init__(self, runtime: Runtime, limits: Limits, rest: ASGIApp) -> None:
        self._runtime = runtime
        self._limits = limits
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: bytes = scope["raw_path"]
            endpoint = _HOT.get(path)
            if endpoint is not None:
                await self._serve(endpoint, scope, receive, send)
                return
            try:
                self._check_size(scope["headers"])
            except HeadersTooLarge as error:
                await _send(Answer(error.status, [_JSON, _OURS, _CLOSE], orjson.dumps(error.envelope())), send)
                return
            if path == _MODELS or path.startswith(_MODELS + b"/"):
                await self._models(scope, send)
                return
        await self._rest(scope, receive, send)

    async def _serve(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        runtime = self._runtime
        received_ns, started = runtime.clock.wall_ns(), runtime.clock.monotonic()
        facts: dict[str, Any] = {
            "id": new_request_id(received_ns),
            "endpoint": endpoint,
            "received_ns": received_ns,
            "started": started,
        }
        try:
            request = await self._read(facts, scope, receive)
        except ClientGone:
            return
        except FarthingError as error:
            answer = await refuse(Request(body=b"", **facts), error, runtime)
            await _send_and_close(answer, receive, send)
            return
        if _ASKS_FOR_A_STREAM.search(request.body) is None:
            # A plain call whose client leaves is finished and kept, since the provider bills it anyway.
            answer = await serve(request, runtime)
            if not answer.streams:
                await _send_whole(answer, scope, send)
                return
            async with answer:
                with HangUpWatch(receive) as watch:  # JSON can spell "stream" in many ways
                    await _send(answer, send, watch)
            return
        with HangUpWatch(receive) as watch:
            async with await serve(request, runtime) as answer:
                await _send(answer, send, watch)

    async def _read(self, facts: dict[str, Any], scope: Scope, receive: Receive) -> Request:
        headers: RawHeaders = scope["headers"]
        said = relevant(headers)
        try:
            self._check_size(headers)
            head = read_head(said)
        except FarthingError:
            facts["secret"] = read_secret(said)  # the record of the refusal names its key
            raise
        facts["secret"], facts["cache_control"] = head.secret, head.cache_control
        facts.update(head.tags)
        self._check_framing(framing(headers))
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['method']} is not taken here: send POST.")
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return Request(body=self._checked(message.get("body", b"")), **facts)
        if message["type"] == "http.request":
            # Only a known key is worth the wait for a long body.
            authenticate(self._runtime.generation.keys, facts["secret"], facts["received_ns"])
        return Request(body=await self._read_on(message, receive), **facts)

    def _check_size(self, headers: RawHeaders) -> None:
        count, size = len(headers), sum(map(len, chain.from_iterable(headers)))
        if count > self._limits.headers or size > self._limits.header_bytes:
            raise HeadersTooLarge(
                f"The request has {count} headers of {size} bytes in all; "
                f"at most {self._limits.headers} of {self._limits.header_bytes} bytes are read."
            )

    def _check_framing(self, headers: RawHeaders) -> None:
        for name, value in headers:
            if name == b"content-encoding" and value.lower() != b"identity":
                raise UnsupportedEncoding
            if name == b"content-length" and int(value) > self._limits.body_bytes:
                raise self._too_large()

    async def _read_on(self, message: MutableMapping[str, Any], receive: Receive) -> bytes:
        parts, size = [], 0
        while message["type"] == "http.request":
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > self._limits.body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()
        raise ClientGone

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self._limits.body_bytes:
            raise self._too_large()
        return body

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body is larger than {self._limits.body_bytes} bytes: shorten it, or raise server.max_body_bytes."
        )

    async def _models(self, scope: Scope, send: Send) -> None:
        """Not hot and free: authenticated like every call, but it leaves no record."""
        runtime = self._runtime
        generation, now_ns = runtime.generation, runtime.clock.wall_ns()
        request_id = (b"x-request-id", new_request_id(now_ns).encode())
        try:
            authenticate(generation.keys, read_secret(scope["headers"]), now_ns)
            if scope["method"] != "GET":
                raise MethodNotAllowed(f"{scope['method']} is not taken here: send GET.")
            body = self._model_body(scope["raw_path"])
        except FarthingError as error:
            await _send(Answer(error.status, [_JSON, _OURS, request_id], orjson.dumps(error.envelope())), send)
            return
        await _send(Answer(200, [_JSON, request_id], body), send)

    def _model_body(self, path: bytes) -> bytes:
        catalog = self._runtime.generation.catalog
        if path == _MODELS:
            return orjson.dumps(model_list(catalog))
        name = unquote(path[len(_MODELS) + 1 :].decode("latin-1"))
        model = one_model(catalog, name)
        if model is None:
            raise ModelNotFound(param="model")
        return orjson.dumps(model)


async def _send_and_close(answer: Answer, receive: Receive, send: Send) -> None:
    """Answer before the body has come. A connection closed on a client that still sends is reset, and the answer may
    be lost with it, so what comes is thrown away for a moment, until the client has read the answer and leaves."""
    length = (b"content-length", str(len(answer.body)).encode())
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length, _CLOSE]})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while (await receive()).get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b""})


async def _send_whole(answer: Answer, scope: Scope, send: Send) -> None:
    if WHOLE_ANSWER in scope.get("extensions", ()):
        await send({"type": WHOLE_ANSWER, "status": answer.status, "headers": answer.headers, "body": answer.body})
    else:
        await _send(answer, send)


async def _send(answer: Answer, send: Send, watch: HangUpWatch | None = None) -> None:
    if not answer.streams:
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    async for chunk in answer.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if watch is not None:
        watch.stop()  # after the last byte the server reports a hang-up of its own accord
    await send({"type": "http.response.body", "body": b""})
