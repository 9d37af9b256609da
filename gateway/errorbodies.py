"""Error bodies: what a provider's refusal says, as far as it is small and there at once."""

import asyncio
from typing import Any, Final

from farthing.errors import UpstreamError
from farthing.ports import UpstreamResponse
from gateway.reading import parse_answer

MOST_BYTES: Final = 64 * 1024
"""A longer body is no refusal."""
WAIT_S: Final = 0.1
"""A refusal is sent in one piece with its head; whoever lets us wait for it shall not hold up the next attempt."""


async def read_error(response: UpstreamResponse, wait_s: float = WAIT_S) -> dict[str, Any] | None:
    """The JSON object of a small body with a known length that comes within so many seconds, None for anything else.
    Never raises for what comes, or does not; the response stays the caller's to close."""
    if not _is_small_json(response):
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            async for chunk in response.chunks():
                body += chunk
                if len(body) > MOST_BYTES:  # it was compressed
                    return None
    except (TimeoutError, UpstreamError):
        return None
    return parse_answer(bytes(body))


def _is_small_json(response: UpstreamResponse) -> bool:
    headers = response.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    length = headers.get("content-length", "")
    return kind in ("application/json", "application/problem+json") and _is_within(length)


def _is_within(length: str) -> bool:
    return length.isascii() and length.isdigit() and len(length) < 9 and int(length) <= MOST_BYTES
