"""A small, fast OpenAI-compatible server for load tests and tests, with faults chosen by the model name.

Every model answers, but for these: `mock-<4xx or 5xx>` answers that status, `mock-html-502` an HTML page,
`mock-not-json` a 200 that is no JSON; `mock-drop` closes without a byte, `mock-hang` never answers,
`mock-slow-first-byte` waits first, `mock-cut` closes and `mock-stall` goes silent halfway;
`mock-error-in-stream` fails inside a 200 stream (plain: as `mock-500`), `mock-no-done` leaves out [DONE],
`mock-no-usage` the usage; `mock-usage-beside-choice` sends it in the finish chunk; `mock-length` and
`mock-content-filter` set the finish reason.
"""

import argparse
import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import responses as phrases
from typing import Any, NamedTuple, cast

import httptools
import orjson
import uvloop

from bench import mock_answers as answers

MODELS = ("bench-model", "mock-model", "mock-embedding")
STATUS_FAULT = re.compile(r"mock-([45]\d\d)")
ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


@dataclass(frozen=True, slots=True)
class MockSettings:
    """How the mock answers; `chunks` are the SSE chunks of one chat stream, its finish chunk included."""

    chunks: int = 50
    duration_ms: float = 200  # from the first chunk of a stream to its last
    slow_ms: float = 1000  # how long `mock-slow-first-byte` waits
    recording: bool = False


class Recorded(NamedTuple):
    """One request as it arrived; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Asked(NamedTuple):
    """What the server needs to know of one request in order to answer it."""

    method: bytes
    path: str
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes to write `interval_s` apart after `delay_s`; then the message is complete, cut or never ends."""

    parts: list[bytes]
    ending: str = "complete"  # or "cut", "stall"
    delay_s: float = 0
    interval_s: float = 0


def plain(body: bytes, status: int = 200, kind: str = "application/json", more: str = "") -> Reply:
    """A whole answer of a known length; `more` are further header lines."""
    head = f"HTTP/1.1 {status} {phrases.get(status, 'Error')}\r\ncontent-type: {kind}\r\n{more}"
    return Reply([b"%bcontent-length: %d\r\n\r\n%b" % (head.encode(), len(body), body)])


def failure(status: int, message: str = "The mock was asked to fail.") -> Reply:
    kind, code = ERRORS.get(status, ("server_error", None))
    error = {"message": message, "type": kind, "param": None, "code": code}
    more = "retry-after: 1\r\n" if status in (429, 503) else ""
    return plain(orjson.dumps({"error": error}), status, more=more)


def _streamed(events: list[bytes], duration_ms: float) -> Reply:
    """The events as one HTTP chunk each; [DONE] and the end of the body leave with the last of them."""
    parts = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    parts[0] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + parts[0]
    if events[-1].startswith(b"data: [DONE]"):
        done = parts.pop()
        parts[-1] += done
    parts[-1] += b"0\r\n\r\n"
    return Reply(parts, interval_s=duration_ms / 1000 / max(1, len(parts) - 1))


def _halved(reply: Reply, ending: str) -> Reply:
    """The first half of a reply, of its events or, when it is plain, of its bytes."""
    parts = reply.parts
    kept = parts[: len(parts) // 2] if len(parts) > 1 else [parts[0][: -len(parts[0]) // 3]]
    return Reply(kept, ending, interval_s=reply.interval_s)


def _early_fault(model: str) -> Reply | None:
    """The reply of a model that fails whatever it is asked, or None."""
    if status := STATUS_FAULT.fullmatch(model):
        return failure(int(status[1]))
    match model:
        case "mock-html-502":
            return plain(b"<html><body><h1>502 Bad Gateway</h1></body></html>", 502, "text/html")
        case "mock-not-json":
            return plain(b'{"id": "chatcmpl-')
        case "mock-drop":
            return Reply([], "cut")
        case "mock-hang":
            return Reply([], "stall")
    return None


def _events(path: str, body: answers.Json, said: answers.Said, chunks: int) -> list[bytes]:
    if path.endswith("/responses"):
        events = answers.response_events(said, chunks)
    else:
        events = answers.completion_events(said, body, chunks, path.endswith("/chat/completions"))
    if said.model == "mock-error-in-stream":
        error = {"message": "The mock failed midway.", "param": None, "code": "server_error"}
        if path.endswith("/responses"):
            failed = answers.event({"type": "error", **error, "sequence_number": len(events) // 2}, "error")
        else:
            failed = answers.event({"error": {"type": "server_error", **error}})
        events = [*events[: len(events) // 2], failed]
    return events


@dataclass(slots=True)
class Mock:
    """A running mock: its address, what it saw while recording, and how many answers it could not finish."""

    settings: MockSettings = MockSettings()
    base_url: str = ""  # with the final /v1, as OpenAI clients want it
    requests: list[Recorded] = field(default_factory=list)
    answered: int = 0
    aborted: int = 0  # the client left before the end of the answer
    connections: set["MockConnection"] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)  # models that say this to everything
    behind: dict[str, str] = field(default_factory=dict)  # the names under which models answer, other than their own
    fingerprints: dict[str, str] = field(default_factory=dict)  # their system_fingerprint

    def reply(self, asked: Asked) -> Reply:
        """Choose the answer; never raises for anything a client sent."""
        self.answered += 1
        path = asked.path.partition("?")[0]
        if asked.method == b"GET" and path.endswith("/models"):
            data = [{"id": m, "object": "model", "created": answers.CREATED, "owned_by": "mock"} for m in MODELS]
            return plain(orjson.dumps({"object": "list", "data": data}))
        try:
            body = orjson.loads(asked.body)
            return self._post(path, body) if isinstance(body, dict) else failure(400, "The body is no object.")
        except (ValueError, TypeError) as error:
            return failure(400, f"The mock could not read the body: {error}")

    def _post(self, path: str, body: answers.Json) -> Reply:
        model = str(body.get("model"))
        if model.startswith("mock-") and (fault := _early_fault(model)):
            return fault
        if path.endswith("/embeddings"):
            reply = plain(orjson.dumps(answers.embeddings(body)))
        elif path.endswith(("/completions", "/responses")):
            reply = self._said(path, model, body)
        else:
            return failure(404, f"The mock does not serve {path}.")
        match model:
            case "mock-cut" | "mock-stall":
                return _halved(reply, model.removeprefix("mock-"))
            case "mock-slow-first-byte":
                return Reply(reply.parts, delay_s=self.settings.slow_ms / 1000, interval_s=reply.interval_s)
        return reply

    def _said(self, path: str, model: str, body: answers.Json) -> Reply:
        shape, given, prefix = answers.chat, "messages", "chatcmpl"
        if path.endswith("/responses"):
            shape, given, prefix = answers.response, "input", "resp"
        elif not path.endswith("/chat/completions"):
            shape, given, prefix = answers.legacy, "prompt", "cmpl"
        said = answers.say(f"{prefix}-mock-{self.answered}", body, body.get(given))
        text = self.broken.get(model, said.text)
        said = replace(
            said, text=text, model=self.behind.get(model, model), fingerprint=self.fingerprints.get(model, "")
        )
        if body.get("stream"):
            events = _events(path, body, said, self.settings.chunks)
            return _streamed(events, self.settings.duration_ms)
        return failure(500) if model == "mock-error-in-stream" else plain(orjson.dumps(shape(said)))


class MockConnection(asyncio.Protocol):
    """One keep-alive connection; pipelined requests wait for their turn."""

    def __init__(self, mock: Mock) -> None:
        self._mock, self._loop = mock, asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Asked] = deque()
        self._now: Asked | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._path, self._headers, self._body = "", dict[str, str](), list[bytes]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._mock.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._mock.connections.discard(self)
        self._mock.aborted += self._now is not None
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.write(failure(400, "This is not HTTP.").parts[0])
            self.transport.close()

    def on_message_begin(self) -> None:
        self._path, self._headers, self._body = "", {}, []

    def on_url(self, url: bytes) -> None:
        self._path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._mock.settings.recording:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body, keep = b"".join(self._body), self._parser.should_keep_alive()
        if self._mock.settings.recording:
            self._mock.requests.append(Recorded(self._path, self._headers, body))
        self._waiting.append(Asked(self._parser.get_method(), self._path, body, keep))
        self._answer_next()

    def _answer_next(self) -> None:
        if self._now is not None or not self._waiting:
            return
        self._now = self._waiting.popleft()
        reply = self._mock.reply(self._now)
        due = self._loop.time() + reply.delay_s
        if reply.delay_s:
            self._timer = self._loop.call_at(due, self._write, reply, 0, due)
        else:
            self._write(reply, 0, due)

    def _write(self, reply: Reply, index: int, due: float) -> None:
        """Write part `index`, due at that loop time, and plan the next, so that delays do not add up."""
        if index < len(reply.parts):
            self.transport.write(reply.parts[index])
        if index + 1 < len(reply.parts):
            due += reply.interval_s
            self._timer = self._loop.call_at(due, self._write, reply, index + 1, due)
        elif reply.ending != "stall":
            self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        keep = self._now is not None and self._now.keep_alive and reply.ending == "complete"
        self._now = None
        if not keep:
            self.transport.close()
        elif self._waiting:
            self._loop.call_soon(self._answer_next)  # not a call: a long queue would recurse


@asynccontextmanager
async def running_mock(settings: MockSettings | None = None, port: int = 0) -> AsyncIterator[Mock]:
    """Serve a recording mock (unless `settings` say otherwise) on 127.0.0.1 until the block ends."""
    mock = Mock(settings or MockSettings(duration_ms=0, slow_ms=20, recording=True))
    server = await asyncio.get_running_loop().create_server(lambda: MockConnection(mock), "127.0.0.1", port)
    mock.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield mock
    finally:
        server.close()
        for connection in list(mock.connections):
            connection.transport.abort()
        await server.wait_closed()


async def serve(settings: MockSettings, port: int) -> None:
    async with running_mock(settings, port) as mock:
        address = mock.base_url.removeprefix("http://").removesuffix("/v1")
        print(f"listening on {address}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fast OpenAI-compatible mock upstream on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--chunks", type=int, default=50, help="SSE chunks per stream")
    parser.add_argument("--duration-ms", type=float, default=200, help="from the first chunk to the last")
    given = parser.parse_args()
    with suppress(KeyboardInterrupt):
        uvloop.run(serve(MockSettings(given.chunks, given.duration_ms), given.port))


if __name__ == "__main__":
    main()
