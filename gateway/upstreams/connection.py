"""One HTTP/1.1 connection to a provider: bytes in, the callbacks of its parser out to the answer it is busy with."""

import asyncio
import math
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, cast

import httptools

from farthing.errors import FarthingError
from gateway.upstreams import failures

if TYPE_CHECKING:
    from gateway.upstreams.answer import Answer
    from gateway.upstreams.pool import Pool

MAX_HEAD_BYTES: Final = 65536
MAX_HEADERS: Final = 200
KEPT_IDLE_S: Final = 60.0
_LONG_HEAD: Final = f"sent a head of more than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers"
STALE_S: Final = 1.0
"""A kept connection lost so soon after a request left on it was closed by the provider before that arrived. One lost
later may have been lost over the answer, which may be billed."""


class Connection(asyncio.Protocol):
    """Carries one request at a time, and goes back to its pool after each.

    It is closed, and not used again, wherever the two ends could differ on where an answer ends: bytes after an
    answer or without a request, anything that is not HTTP, an answer that began before its request had left.
    """

    # fmt: off
    __slots__ = (
        "_answer", "_complete", "_head_bytes", "_headers", "_idle_due", "_loop", "_parser",
        "_paused", "_refusal", "_reusable", "_silent", "_timer", "_transport",
        "_until_close", "_used", "alive", "pool", "rings_at",
    )
    # fmt: on

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pool: Pool | None = None
        self.alive = False
        self._loop = loop
        self._parser: Any = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._refusal = ""
        self._silent = self._used = self._complete = self._reusable = self._until_close = self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle_due = self.rings_at = math.inf

    # --- used by pool and answer -----------------------------------------------------------------

    def send(self, request: bytes, answer: "Answer") -> None:
        """Write a whole request, for which `answer` waits."""
        self._answer = answer
        self._headers = []
        self._head_bytes = 0
        self._silent = True
        self._complete = self._until_close = False
        answer.connection = self
        self._transport.write(request)

    def ring_by(self, due: float) -> None:
        """Look at what is due at that loop time or before.

        One timer serves all the requests of a connection, and is only set anew where something is due earlier:
        where it rings too early it looks again when the next thing is due, which costs a request nothing.
        """
        if due < self.rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self.rings_at = due
            self._timer = self._loop.call_at(due, self._ring)

    def pause(self) -> None:
        """Let the provider wait until the receiver has caught up."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def abort(self, failure: FarthingError | None = None) -> None:
        """Close at once; `failure` is what the answer says of it."""
        self.alive = False
        answer, self._answer = self._answer, None
        if answer is not None and failure is not None:
            answer.fail(failure)
        self._transport.abort()

    def cut_off(self) -> None:
        """Close at once because the gateway ends."""
        answer = self._answer
        what = "was cut off, because the gateway is shutting down"
        self.abort(None if answer is None else failures.broken(answer.provider, what))

    # --- called by the loop ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.alive = True

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.abort()
            return
        self._silent = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            what = self._refusal or f"sent something that is not HTTP ({error})"
            self.abort(None if self._complete else failures.broken(answer.provider, what))
            return
        if self._complete:
            self._done()
        elif not answer.status:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.abort(failures.broken(answer.provider, _LONG_HEAD))

    def eof_received(self) -> None:
        self.alive = False  # the loop closes it next

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if self._timer is not None:
            self._timer.cancel()
        answer, self._answer = self._answer, None
        if answer is not None:
            self._lost(answer, exc)
        self._transport.abort()  # already closed, but TLS transports of asyncio warn of it otherwise
        self._parser = None  # it holds our methods: a ring that only the collector would open
        if self.pool is not None:
            self.pool.lost(self)

    # --- called by the parser --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._refuse("sent a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        if len(self._headers) > MAX_HEADERS:
            self._refuse(_LONG_HEAD)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        fields, self._headers = self._headers, []  # what comes into the new list are trailers, which nobody reads
        if status < 200:
            if status == 101:
                self._refuse("changed to another protocol")
            return
        if sum(len(name) + len(value) for name, value in fields) > MAX_HEAD_BYTES:
            self._refuse(_LONG_HEAD)
        headers = _joined(fields)
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            self._refuse("used a transfer encoding that it was not asked for")
        self._until_close = coding is None and "content-length" not in headers
        if self._answer is not None:
            self._answer.begin(status, headers)

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if answer is not None and not answer.add(body):
            self._refuse(f"sent a body of more than {answer.max_body_bytes} bytes")

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status:  # not so after 100 Continue
            self._complete = True
            self._reusable = self._parser.should_keep_alive()
            self._answer.finish()

    # --- inner -----------------------------------------------------------------------------------

    def _refuse(self, what: str) -> None:
        """Stop the parser: `what` completes the sentence `Provider 'x' ...`."""
        self._refusal = what
        raise ValueError

    def _done(self) -> None:
        self._answer = None
        if not (self._reusable and self.alive and self.pool) or self._transport.get_write_buffer_size():
            self.abort()
            return
        self.resume()
        self._used = True
        self._idle_due = self._loop.time() + KEPT_IDLE_S
        self.ring_by(self._idle_due)
        self.pool.release(self)

    def _lost(self, answer: "Answer", exc: Exception | None) -> None:
        if self._until_close and exc is None:
            answer.finish()
        elif self._silent and self._used and self._loop.time() - answer.heard < STALE_S:
            answer.go_stale()
        else:
            answer.fail(failures.broken(answer.provider, f"broke off its answer ({told(exc)})"))

    def _ring(self) -> None:
        answer, now = self._answer, self._loop.time()
        due, setting = (self._idle_due, "") if answer is None else answer.due()
        self._timer, self.rings_at = None, math.inf
        if now < due:
            self.ring_by(due)
        else:
            self.abort(None if answer is None else failures.timed_out(answer.provider, setting))


def told(error: BaseException | None) -> str:
    """The cause of a lost or failed connection, without addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or 'failed').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__ if error else "it closed the connection"


def _joined(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case; repeated ones are one list (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for raw, value in fields:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1").rstrip()
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers
