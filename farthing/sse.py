"""Server-sent events, read incrementally: bytes in, events with their place in the stream out.

The events tile the stream: every byte belongs to exactly one span [start, end), whatever the chunking, so
whoever relays the bytes can leave one event out by its span. Rules of the format: WHATWG HTML, section 9.2.6.
"""

import re
from typing import Final, NamedTuple

from farthing.errors import UpstreamBroken

MAX_FRAME_BYTES: Final = 8 * 1024 * 1024

# Atomic groups: a CRLF must never be read as two line ends.
_BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LONGEST_BLANK_LINE: Final = 4
_BOM: Final = b"\xef\xbb\xbf"
_CR: Final = 0x0D


class Event(NamedTuple):
    """One frame. `data` are its data lines joined by LF: empty for comments, pings and stray blank lines,
    which are relayed but mean nothing. `start` and `end` are byte offsets in the stream; the span holds the
    blank line that ends the frame and any blank line left over before it."""

    data: bytes
    event: str
    start: int
    end: int


class Reader:
    """Reads one stream. A frame of more than `max_frame_bytes` raises UpstreamBroken.

    Where a blank line ends with CR, the frame is given out with the next byte: a LF may still belong to it.
    """

    __slots__ = ("_limit", "_offset", "_pending", "_scanned")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit = max_frame_bytes
        self._pending = bytearray()
        self._offset = 0  # place in the stream of the first pending byte
        self._scanned = 0  # pending bytes in which no blank line begins

    def feed(self, data: bytes) -> list[Event]:
        """The frames that these bytes complete."""
        if self._pending:
            self._pending += data
            if not self._may_hold_a_frame():
                return []
            data = bytes(self._pending)
            self._pending.clear()
        events = self._read_lf(data) if b"\r" not in data else self._read_any(data)
        rest = len(data) - ((events[-1].end if events else self._offset) - self._offset)
        if rest:
            self._pending += data[-rest:]
            self._check_size(rest)
        self._offset += len(data) - rest
        self._scanned = 0
        return events

    def close(self) -> list[Event]:
        """The frame left over at the end of the stream, if any; it counts even without its blank line."""
        if not self._pending:
            return []
        data, start = bytes(self._pending), self._offset
        self._pending.clear()
        self._offset += len(data)
        return [_parse(data, start, self._offset)]

    def _may_hold_a_frame(self) -> bool:
        """Look only at what is new, so that a long frame in small chunks costs linear time."""
        found = _BLANK_LINE.search(self._pending, self._scanned)
        self._scanned = max(0, len(self._pending) - _LONGEST_BLANK_LINE)
        if found is None:
            self._check_size(len(self._pending))
        return found is not None

    def _read_lf(self, data: bytes) -> list[Event]:
        """The common case, no CR anywhere: let bytes.split do the work."""
        frames = data.split(b"\n\n")
        frames.pop()
        events, start, limit = [], self._offset, self._limit
        for frame in frames:
            end = start + len(frame) + 2
            if end - start > limit:
                self._check_size(end - start)
            if frame.startswith(b"data: ") and b"\n" not in frame:
                events.append(Event(frame[6:], "", start, end))
            else:
                events.append(_parse(frame, start, end))
            start = end
        return events

    def _read_any(self, data: bytes) -> list[Event]:
        events, begin, base = [], 0, self._offset
        for found in _BLANK_LINE.finditer(data):
            end = found.end()
            if end == len(data) and data[-1] == _CR:
                break
            self._check_size(end - begin)
            events.append(_parse(data[begin:end], base + begin, base + end))
            begin = end
        return events

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise UpstreamBroken(
                f"The model provider sent an event of more than {self._limit} bytes in its stream; cut off."
            )


def _parse(frame: bytes, start: int, end: int) -> Event:
    """Read the fields of one frame."""
    if start == 0 and frame.startswith(_BOM):
        frame = frame[len(_BOM) :]
    data: list[bytes] = []
    event = b""
    for line in frame.splitlines():  # bytes.splitlines knows LF, CR and CRLF only, as the format does
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ")
    return Event(b"\n".join(data), event.decode("utf-8", "replace"), start, end)
