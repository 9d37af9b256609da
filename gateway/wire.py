"""Wire: uvicorn's HTTP/1.1 with the bounds it leaves out: how long a message may take and how much it may hold."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Final

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from farthing.errors import FarthingError, HeadersTooLarge, RequestError

KIBIBYTE: Final = 1024
WHOLE_ANSWER: Final = "farthing.http.answer"
"""An extension of ASGI: one message of this type carries `status`, `headers` and the whole `body`."""
_OFFERED: Final[dict[str, dict[object, object]]] = {WHOLE_ANSWER: {}}
_NOT_IN_HEADERS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class MalformedRequest(RequestError):
    """This is not a valid HTTP request, for example because of two lengths, a broken chunk, or no Host header."""

    code = "malformed_request"


class RequestTimeout(RequestError):
    """The request did not arrive completely in time: send it again."""

    status = 408
    code = "request_timeout"


class _NoTrailers(list[tuple[bytes, bytes]]):
    """Where headers go that follow a body: the parser would add them to those the request was judged by."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        raise MalformedRequest


class AnswerWriter:
    """Sends whole answers of one request in one write, which saves uvicorn's second system call and its look at each
    header by itself: 15 us an answer. All other messages are uvicorn's to send."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """The `send` of ASGI, with the extension."""
        cycle = self._cycle
        if message["type"] != WHOLE_ANSWER:
            await cycle.send(message)  # type: ignore[arg-type]
            return
        status, headers, body = message["status"], message["headers"], message["body"]
        length = (b"content-length", b"%d" % len(body))
        if cycle.keep_alive and not (cycle.flow.write_paused or cycle.response_started):
            if not cycle.disconnected:
                self._write(status, [*cycle.default_headers, *headers, length], body)
            return
        await cycle.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await cycle.send({"type": "http.response.body", "body": body, "more_body": False})

    def _write(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        if _NOT_IN_HEADERS.search(b"".join(chain.from_iterable(headers))):
            raise RuntimeError("a header of the answer has a character that no header may have")
        cycle = self._cycle
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], head, body))
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()


async def _with_whole_answers(
    app: Callable[..., Awaitable[None]],
    cycle: RequestResponseCycle,
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: object,
) -> None:
    del send
    scope["extensions"] = _OFFERED
    await app(scope, receive, AnswerWriter(cycle).send)


class PatientProtocol(HttpToolsProtocol):
    """One connection. Errors found here have no record: there was no request yet.

    A head (request line and headers) must be complete within `head_s` seconds of the connection or its first byte, a
    body within `body_s`, and a client must take what waits for it within `write_s`. `slack_bytes` may arrive
    without the head ending or the body growing, which bounds headers, chunk extensions and trailers.
    The precise limits on headers and bodies are the door's, which can answer with a record.
    """

    head_s: ClassVar[float] = 20.0
    body_s: ClassVar[float] = 60.0
    write_s: ClassVar[float] = 60.0
    slack_bytes: ClassVar[int] = 2048 * KIBIBYTE

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = self._in_body = False
        self._slack = 0
        self._answering: RequestResponseCycle | None = None
        self._waits: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    # --- the connection ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio (unlike uvloop) leaves it off where the listening socket was made without naming TCP; a body
            # would then wait 40 ms for the client to acknowledge the head.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waits = self.loop.call_later(self.head_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self.resume_writing()
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn tells only the last request of a pipeline.
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head, was_in_body = self._in_head, self._in_body
        super().data_received(data)
        if self._in_head or self._in_body:
            self._slack += len(data)
            if self._slack > self.slack_bytes:
                self._refuse(HeadersTooLarge())
            elif self._waits is None or self._in_head > was_in_head or self._in_body > was_in_body:
                self._wait(self.body_s if self._in_body else self.head_s)
        elif self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()
        elif self._waits is None:
            # Line ends between two requests stop the keep-alive timer of uvicorn, but are no request.
            self._wait(self.head_s)

    def _wait(self, seconds: float) -> None:
        self._wait_no_more()
        if not self.transport.is_closing():
            self._waits = self.loop.call_later(seconds, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

    def _give_up(self) -> None:
        self._waits = None
        if self._in_head or self._in_body:
            self._refuse(RequestTimeout())
        elif not self.transport.is_closing():
            self.transport.close()

    # --- the parser ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head, self._slack = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._slack = False, True, 0
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            raise MalformedRequest
        super().on_headers_complete()
        self.headers = _NoTrailers()

    def on_body(self, body: bytes) -> None:
        self._slack = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, partial(_with_whole_answers, app, cycle))

    # --- answers of its own --------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for anything its parser does not take."""
        self._refuse(MalformedRequest())

    def _refuse(self, error: FarthingError) -> None:
        self._wait_no_more()
        self._in_head = self._in_body = False
        if self.transport.is_closing():
            return
        # In the middle of an answer another one would be read as a part of it.
        answering = self._answering
        if answering is None or answering.response_complete or not answering.response_started:
            body = orjson.dumps(error.envelope())
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()

    # --- a client that does not read -----------------------------------------------------------------

    def pause_writing(self) -> None:
        if self._stuck is None:
            self._stuck = self.loop.call_later(self.write_s, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        super().resume_writing()
