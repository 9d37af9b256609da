"""Callers: single requests on connections of their own, read to the end or left in the middle."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from bench.victims import KEY

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, a chat unless its path says otherwise. `leaves_after_s`: the client is gone so long after it asked,
    whatever has come by then."""

    body: Mapping[str, Any]
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = field(default_factory=dict)
    leaves_after_s: float | None = None

    @property
    def wire(self) -> bytes:
        """The bytes of the request; the server is to close the connection after its answer."""
        body = orjson.dumps(dict(self.body))
        lines = [
            f"POST {self.path} HTTP/1.1",
            "host: victim",
            f"authorization: Bearer {KEY}",
            "content-type: application/json",
            "connection: close",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Told(NamedTuple):
    """What a caller was told: the status and the rest as it came; status 0 where there was none to read."""

    status: int
    rest: bytes

    @property
    def is_whole(self) -> bool:
        """True where the answer came to its proper end."""
        head, _, body = self.rest.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        return len(body) == int(length[1]) if length else body.endswith(b"\r\n0\r\n\r\n")


NOTHING = Told(0, b"")
NOBODY = Told(-1, b"")
"""There was nobody to ask."""


async def call(port: int, ask: Ask) -> Told:
    """Ask, and read until the server closes. Never raises: a gateway may die under its callers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return NOBODY
    try:
        writer.write(ask.wire)
        data = await asyncio.wait_for(reader.read(-1), ask.leaves_after_s or PATIENCE_S)
        return _told(data)
    except (OSError, TimeoutError):
        return NOTHING
    finally:
        writer.transport.abort()


def _told(data: bytes) -> Told:
    words = data[:20].split(b" ")
    if len(words) < 2 or not words[1].isdigit():
        return NOTHING
    return Told(int(words[1]), data)
