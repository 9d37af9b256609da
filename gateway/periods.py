"""Periods: spans of time as people write them (`30d`, `12h`, `2026-11-01`), in wall nanoseconds."""

import re
from datetime import UTC, datetime
from typing import Final

from farthing.errors import InvalidParameter

NS: Final = 10**9
_AGO: Final = re.compile(r"(\d{1,6})([hdw])")
_SECONDS: Final = {"h": 3600, "d": 86_400, "w": 604_800}


def parse_moment(text: str, now_ns: int) -> int:
    """Wall ns of `30d`, `12h`, `4w` (ago), of a date (its start, UTC) or of an ISO 8601 time (UTC if it has
    no zone).

    Raises InvalidParameter.
    """
    if ago := _AGO.fullmatch(text):
        return max(now_ns - int(ago[1]) * _SECONDS[ago[2]] * NS, 0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(
            f"'{printed(text)}' is not a time: write 30d, 12h or 4w (ago), a date such as 2026-11-01, "
            "or a time such as 2026-11-01T08:00:00Z."
        ) from None
    return wall_ns(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def wall_ns(moment: datetime) -> int:
    """Wall ns of an aware moment."""
    return int(moment.timestamp()) * NS + moment.microsecond * 1000


def moment_of(ns: int) -> datetime:
    """The UTC moment of wall ns, to the microsecond."""
    seconds, rest = divmod(ns, NS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def month_start(now_ns: int) -> int:
    """Wall ns at which the UTC month of `now_ns` began."""
    now = moment_of(now_ns)
    return wall_ns(datetime(now.year, now.month, 1, tzinfo=UTC))


def printed(text: str) -> str:
    """At most 80 characters of what somebody typed, escaped to printable ASCII."""
    return ascii(text[:80])[1:-1]
