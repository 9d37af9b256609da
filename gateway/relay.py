"""Relay: a provider's stream to the client as it arrives, read beside the road and never re-encoded."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from farthing.call import Endpoint
from farthing.errors import FarthingError, MoneyError, UpstreamBroken, UpstreamError
from farthing.ports import Clock, UpstreamResponse
from farthing.sse import Event, Reader
from farthing.usage import Usage

DONE: Final = b"[DONE]"
DONE_FRAME: Final = b"data: [DONE]\n\n"
_RESPONSES_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")
_ERRORS: Final = ("error", "response.failed")


class Witness(Protocol):
    """Reads every parsed event of a stream (the cache's assembler)."""

    output_deltas: int

    @property
    def finished(self) -> bool:
        """Every choice that began has got its finish reason."""

    def feed(self, event: Mapping[str, Any]) -> None:
        """One JSON object of the stream."""


class UsageReader(Protocol):
    """Finds the usage in one event, or None."""

    def __call__(self, event: Mapping[str, Any], /) -> Usage | None: ...


class Meter(Protocol):
    """Pays for a stream as it comes."""

    def feed(self, event: Mapping[str, Any]) -> None:
        """One JSON object of the stream."""

    async def cover(self) -> None:
        """Pay for all that came. Raises MoneyError: then nothing more may be passed on."""


class Listener(Protocol):
    """Is told what the client gets, in the same order, before it does; but not the frame that tells an error of ours,
    and the usage chunk also where the client did not ask for it."""

    def __call__(self, data: bytes, /, *, is_usage: bool = False) -> None: ...


class Relay:
    """One stream. After `chunks` ends, the fields tell what was seen.

    `usage`: the last non-null usage anywhere in the stream; `usage_is_last`: no output came after it.
    `complete`: it ended as its protocol says an answer ends. `failure`: the error the stream carried, or the cut it
    suffered. `first_byte`: monotonic seconds. `farewell`: the frame that told the client of the failure, if we made it.
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
        allowance: Meter | None = None,
        tell: Listener | None = None,
    ) -> None:
        self.usage: Usage | None = None
        self.failure: FarthingError | None = None
        self.first_byte: float | None = None
        self.farewell = b""
        self._response = response
        self._responses = endpoint is Endpoint.RESPONSES
        self._hide = hide_usage
        self._witness = witness
        self._read_usage = read_usage
        self._clock = clock
        self._allowance = allowance
        self._tell = tell
        self._over = False
        self._reader = Reader()
        self._done = False
        self._ended = False
        self._deltas_at_usage = 0
        self._sequence = -1
        self._tail = b""
        self._offset = 0

    @property
    def complete(self) -> bool:
        """True where the answer was finished by the model, not by an error or a cut."""
        return self._finished and self.failure is None

    @property
    def usage_is_last(self) -> bool:
        """True where `usage` covers all that was delivered: some providers send a first figure early on."""
        return self._witness.output_deltas <= self._deltas_at_usage

    @property
    def _finished(self) -> bool:
        return self._ended if self._responses else self._done or self._witness.finished

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The client's bytes. An error inside or a cut is told in the stream's own dialect; this never raises it.

        Whoever takes them may be replaced between two of them: called again, this goes on where it was left.
        """
        if self._over:
            return
        try:
            async for data in self._response.chunks():
                if self.first_byte is None:
                    self.first_byte = self._clock.monotonic()
                if passed := self._pass(data) if self._allowance is None else await self._pay(data, self._allowance):
                    yield passed
            for event in self._reader.close():
                if (self._see(event) and self._hide) or not _is_whole(event.data):
                    self._tail = b""
        except MoneyError as error:
            self._tail, self.failure = b"", error
        except UpstreamError as error:
            self._tail = b""
            if not (self._done or self._ended):  # after its last event a stream has nothing more to lose
                self.failure = self.failure or error
        self._over = True
        if last := self._last_bytes():
            yield last

    def _last_bytes(self) -> bytes:
        rest = self._tail + b"\n\n" if self._tail else b""
        closing = self._closing_frame()
        if self.failure is not None:
            self.farewell, said = closing, rest
        else:
            said = rest + closing
        if said and self._tell is not None:
            self._tell(said)
        return said + self.farewell

    def _pass(self, data: bytes) -> bytes:
        """Whole frames only: the usage chunk we asked for can be cut out before its first byte left, and a stream
        that is cut mid-frame still ends in a readable error. A frame's part is of no use to a client anyway."""
        events = self._reader.feed(data)
        held = self._tail + data if self._tail else data
        start, kept = self._offset, []
        for event in events:
            if self._see(event):
                kept.append(held[start - self._offset : event.start - self._offset])
                kept.append(held[event.start - self._offset : event.end - self._offset])
                start = event.end
        end = events[-1].end if events else self._offset
        kept.append(held[start - self._offset : end - self._offset])
        self._tail = held[end - self._offset :]
        self._offset = end
        if self._tell is not None:
            self._tell_all(kept)
        if len(kept) == 1:
            return kept[0]
        return b"".join(kept[::2] if self._hide else kept)

    def _tell_all(self, kept: Sequence[bytes]) -> None:
        """Every second of them is a usage chunk."""
        assert self._tell is not None
        for number, data in enumerate(kept):
            if data:
                self._tell(data, is_usage=number % 2 == 1)

    async def _pay(self, data: bytes, allowance: Meter) -> bytes:
        """The same, but each frame is paid for before the next is looked at. Raises MoneyError."""
        passed = []
        for frame in frames(data):
            passed.append(self._pass(frame))
            await allowance.cover()
        return b"".join(passed)

    def _see(self, event: Event) -> bool:
        """Take note of an event; True if it is the usage chunk, which is hidden where only we asked for it."""
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
        self._witness.feed(parsed)
        if self._allowance is not None:
            self._allowance.feed(parsed)
        usage = self._read_usage(parsed)
        if usage is not None:
            self.usage, self._deltas_at_usage = usage, self._witness.output_deltas
        if parsed.get("error") or parsed.get("type") in _ERRORS or event.event == "error":
            self.failure = UpstreamError("The model provider reported an error inside the stream.")
        if self._responses:
            self._note_response_event(parsed)
        # Known by its form, not by what we made of it: a usage that cannot be true was asked for by us as well.
        return parsed.get("choices") == [] and bool(parsed.get("usage")) and not self._responses

    def _note_response_event(self, event: Mapping[str, Any]) -> None:
        if event.get("type") in _RESPONSES_ENDS:
            self._ended = True
        number = event.get("sequence_number")
        if type(number) is int:
            self._sequence = number

    def _closing_frame(self) -> bytes:
        if self._responses:
            if self._ended or self._failed_in_band():
                return b""
            return self._error_frame()
        if self._done or self._failed_in_band():
            return b""
        if self._finished and self.failure is None:
            return DONE_FRAME
        return self._error_frame()

    def _failed_in_band(self) -> bool:
        return type(self.failure) is UpstreamError

    def _error_frame(self) -> bytes:
        """Without it, SDKs take a stream cut short for a complete one."""
        self.failure = self.failure or UpstreamBroken("The model provider's stream ended before the answer did.")
        return self.last_words(self.failure)

    def last_words(self, error: FarthingError) -> bytes:
        """The frame that tells a client of an error, in the stream's own dialect."""
        envelope = error.envelope()
        if self._responses:
            event = {**envelope["error"], "type": "error", "sequence_number": self._sequence + 1}
            return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"
        return b"data: " + orjson.dumps(envelope) + b"\n\n"


_FRAME: Final = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)", re.DOTALL)


def frames(data: bytes) -> Sequence[bytes]:
    """The same bytes cut behind each frame, so that one event is paid for before the next is looked at."""
    cut = _FRAME.findall(data)
    rest = data[sum(map(len, cut)) :]
    return [*cut, rest] if rest else cut


def _is_whole(data: bytes) -> bool:
    """False for half an event: a server that simply closes leaves one behind."""
    if data and data != DONE:
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
    return True
