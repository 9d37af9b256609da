"""Request ids: unguessable, and in the order of time so that the ledger appends instead of scattering."""

import re
import secrets
from typing import Final

RANDOM_DIGITS: Final = 16
_DRAWN_BYTES: Final = 4096
_OURS: Final = re.compile(rf"req-([0-9a-f]{{12}})[0-9a-f]{{{RANDOM_DIGITS}}}")
_drawn: list[str] = []


def new_request_id(wall_ns: int) -> str:
    """`req-` + 12 hex digits of milliseconds + 16 random hex digits."""
    if not _drawn:
        _draw()
    return f"req-{wall_ns // 1_000_000:012x}{_drawn.pop()}"


def made_ns(request_id: str) -> int | None:
    """The wall ns at which an id was made, None for a text that is none of ours."""
    found = _OURS.fullmatch(request_id)
    return int(found[1], 16) * 1_000_000 if found else None


def _draw() -> None:
    """Many at once: asking the system for eight random bytes costs as much as for thousands."""
    digits = secrets.token_hex(_DRAWN_BYTES)
    _drawn.extend(digits[start : start + RANDOM_DIGITS] for start in range(0, len(digits), RANDOM_DIGITS))
