"""Logs: one JSON line for each finished request, and the lines a person reads at start-up.

A line holds who called, what it cost and how it ended; never a prompt, an answer or a key. What clients chose
freely (the model's name) is escaped to printable ASCII, so a line can neither be split nor steer a terminal.
"""

import json
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Any, BinaryIO, Final

import orjson

from farthing.record import Outcome, Record


class Level(IntEnum):
    """How severe a line is, as in `logging.level`."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


LEVELS: Final = {
    Outcome.SUCCESS: Level.INFO,
    Outcome.HIT: Level.INFO,
    Outcome.REFUSED: Level.WARNING,
    Outcome.REJECTED: Level.WARNING,
    Outcome.ABORTED: Level.WARNING,
    Outcome.UPSTREAM_ERROR: Level.ERROR,
    Outcome.GATEWAY_ERROR: Level.ERROR,
    Outcome.LOST: Level.ERROR,
}
"""How severe the line of a request is."""


class LogFormat(StrEnum):
    """How a line is written, as in `logging.format`."""

    JSON = "json"
    TEXT = "text"


def printable_line(values: dict[str, Any]) -> bytes:
    """One JSON object and a line feed, in printable ASCII only."""
    line = orjson.dumps(values)
    if not line.isascii() or b"\x7f" in line:
        line = json.dumps(values, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii")
    return line + b"\n"


def printable(text: str) -> str:
    """The text with everything outside of printable ASCII escaped as Python would."""
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)


class RequestLog:
    """Writes the line of a record to `stream` (standard error) if it is as severe as `level`.

    With `later`, which calls a function a moment from now, the lines of that moment are written at once: a system
    call for each line costs more than the line. Whoever gives `later` calls `flush` at the end.
    """

    def __init__(
        self,
        stream: BinaryIO,
        level: Level = Level.INFO,
        format_: LogFormat = LogFormat.JSON,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._stream = stream
        self._level = level
        self._format = format_
        self._later = later
        self._lines: list[bytes] = []

    def write(self, record: Record) -> None:
        """One line for a finished request; a closed or full stream loses the line, never the request."""
        level = LEVELS[record.outcome]
        if level < self._level:
            return
        members = _members(record, level)
        self._lines.append(printable_line(members) if self._format is LogFormat.JSON else _text_line(members))
        if self._later is None:
            self.flush()
        elif len(self._lines) == 1:
            self._later(self.flush)

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = b"".join(self._lines), []
        try:
            self._stream.write(lines)
            self._stream.flush()
        except (OSError, ValueError):
            return


_LEVEL_NAMES: Final = {level: level.name.lower() for level in Level}


def _text_line(members: dict[str, Any]) -> bytes:
    pairs = [f"{name}={value}" for name, value in members.items() if value not in ("", None)]
    return printable(" ".join(pairs)).encode() + b"\n"


def _members(record: Record, level: Level) -> dict[str, Any]:
    tags, usage = record.tags, record.usage
    seconds, micros = divmod(record.received_ns // 1000, 10**6)
    members: dict[str, Any] = {
        "event": "request",
        "level": _LEVEL_NAMES[level],
        "received": seconds + micros / 1e6,
        "id": record.id,
        "tenant": tags.tenant,
        "key": tags.key_id,
        "feature": tags.feature,
        "task": tags.task,
        "endpoint": record.endpoint,
        "stream": record.stream,
        "outcome": record.outcome,
        "status": record.status,
        "model": record.model_served or record.model_requested,
        "tier": record.tier,
        "deployment": record.deployment,
        "cache": record.cache,
        "input_tokens": usage.input_total,
        "output_tokens": usage.output_total,
        "cost_nano": record.cost,
        "seconds": record.seconds,
        "first_byte_seconds": record.first_byte_seconds,
    }
    if tags.task:
        members["task_source"] = record.task_source
    if tags.run:
        members["run"] = tags.run
    if record.error_code:
        members["error"] = record.error_code
    if len(record.attempts) > 1:
        members["attempts"] = [[attempt.deployment, attempt.error] for attempt in record.attempts]
    return members
