"""Relay: a provider's stream to the client as it arrives, read beside the road and never re-encoded."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

import orjson

from farthing.call import Endpoint
from farthing.errors import FarthingError, UpstreamBroken, UpstreamError
from farthing.ports import Clock, UpstreamResponse
from farthing.sse import Event, Reader
from farthing.usage import Usage

DONE: Final = b"[DONE]"
DONE_FRAME: Final = b"data: [DONE]\n\n"
_RESPONSES_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")


class Witness(Protocol):
    """Reads every parsed event of a stream (the cache's assembler)."""

    finish_reason: str

    def feed(self, event: Mapping[str, Any]) -> None:
        """One JSON object of the stream."""


class UsageReader(Protocol):
    """Finds the usage in one event, or None."""

    def __call__(self, event: Mapping[str, Any], /) -> Usage | None: ...


class Relay:
    """One stream. After `chunks` ends, the fields tell what was seen.

    `usage`: the last non-null usage anywhere in the stream. `complete`: it ended as its protocol says an answer ends.
    `failure`: the error the stream carried, or the cut it suffered. `first_byte`: monotonic seconds.
    """

    def __init__(
        self,
        response: UpstreamResponse,
        endpoint: Endpoint,
        *,
        hide_usage: bool,
        witness: Witness,
        read_usage: UsageReader,
        clock: Clock,
    ) -> None:
        self.usage: Usage | None = None
        self.failure: FarthingError | None = None
        self.first_byte: float | None = None
        self._response = response
        self._responses = endpoint is Endpoint.RESPONSES
        self._hide = hide_usage
        self._witness = witness
        self._read_usage = read_usage
        self._clock = clock
        self._reader = Reader()
        self._done = False
        self._ended = False
        self._tail = b""
        self._offset = 0

    @property
    def complete(self) -> bool:
        """True where the answer was finished by the model, not by an error or a cut."""
        finished = self._ended if self._responses else bool(self._witness.finish_reason)
        return finished and self.failure is None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The client's bytes. An error inside or a cut is told in the stream's own dialect; this never raises it."""
        try:
            async for data in self._response.chunks():
                if self.first_byte is None:
                    self.first_byte = self._clock.monotonic()
                if passed := self._pass(data):
                    yield passed
            for event in self._reader.close():
                if self._see(event):
                    self._tail = b""
        except UpstreamError as error:
            self.failure, self._tail = self.failure or error, b""
        if self._tail:
            yield self._tail + b"\n\n"
        if closing := self._closing_frame():
            yield closing

    def _pass(self, data: bytes) -> bytes:
        """Whole frames only: the usage chunk we asked for can be cut out before its first byte left, and a stream
        that is cut mid-frame still ends in a readable error. A frame's part is of no use to a client anyway."""
        events = self._reader.feed(data)
        held = self._tail + data if self._tail else data
        start, kept = self._offset, []
        for event in events:
            if self._see(event):
                kept.append(held[start - self._offset : event.start - self._offset])
                start = event.end
        end = events[-1].end if events else self._offset
        kept.append(held[start - self._offset : end - self._offset])
        self._tail = held[end - self._offset :]
        self._offset = end
        return b"".join(kept) if len(kept) > 1 else kept[0]

    def _see(self, event: Event) -> bool:
        """Take note of an event; True if it is the usage chunk that only we asked for."""
        data = event.data
        if not data:
            return False
        if data == DONE:
            self._done = True
            return False
        try:
            parsed = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        if type(parsed) is not dict:
            return False
        usage = self._read_usage(parsed)
        if usage is not None:
            self.usage = usage
        if parsed.get("error") or parsed.get("type") == "error" or event.event == "error":
            self.failure = UpstreamError("The model provider reported an error inside the stream.")
        if self._responses and parsed.get("type") in _RESPONSES_ENDS:
            self._ended = True
        self._witness.feed(parsed)
        return usage is not None and self._hide and parsed.get("choices") == []

    def _closing_frame(self) -> bytes:
        if self._responses:
            if self._ended or self._failed_in_band():
                return b""
            return self._error_frame()
        if self._done or self._failed_in_band():
            return b""
        if self._witness.finish_reason and self.failure is None:
            return DONE_FRAME
        return self._error_frame()

    def _failed_in_band(self) -> bool:
        return type(self.failure) is UpstreamError

    def _error_frame(self) -> bytes:
        """Without it, SDKs take a stream cut short for a complete one."""
        self.failure = self.failure or UpstreamBroken("The model provider's stream ended before the answer did.")
        envelope = self.failure.envelope()
        if self._responses:
            event = {"type": "error", **envelope["error"], "sequence_number": 0}
            return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
        return b"data: " + orjson.dumps(envelope) + b"\n\n"
