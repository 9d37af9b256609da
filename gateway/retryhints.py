"""Retry hints: how long a provider that is asked too much wants to be left alone, as its headers say."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?")
_SPAN: Final = re.compile(
    r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m(?!s))?(?:([0-9]{1,6}(?:\.[0-9]{1,6})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)ms)?"
)
_LIMITS: Final = ("requests", "tokens")


def wait_of(headers: Mapping[str, str], now_ns: int) -> float | None:
    """Seconds, at `now_ns` (wall time); None where the headers say nothing that can be read. In this order:
    `retry-after-ms`, `retry-after` (seconds or a date), and the longest of `x-ratelimit-reset-requests` and
    `-tokens` (such as 1m30s) of which nothing remains."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if _NUMBER.fullmatch(said := headers.get(name, "").strip()):
            return float(said) * unit
    if said := headers.get("retry-after", ""):
        return _until(said, now_ns)
    used_up = [limit for limit in _LIMITS if headers.get(f"x-ratelimit-remaining-{limit}", "").strip() == "0"]
    spans = [_span(headers.get(f"x-ratelimit-reset-{limit}", "").strip()) for limit in used_up]
    return max((seconds for seconds in spans if seconds is not None), default=None)


def _until(date: str, now_ns: int) -> float | None:
    try:
        moment = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return max(moment - now_ns / 1e9, 0.0)


def _span(text: str) -> float | None:
    """Seconds of a text such as 6m0s, 20ms or 7.66s; a bare number is seconds."""
    if _NUMBER.fullmatch(text):
        return float(text)
    found = _SPAN.fullmatch(text)
    if not text or found is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
