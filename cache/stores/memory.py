"""A store in memory: for tests, and for whoever wants nothing on disk."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Value:
    data: bytes
    scope: bytes
    expires_ns: int


class MemoryStore:
    """Port `Store` in a dictionary; the earliest to expire leave first when `max_bytes` of values are passed."""

    def __init__(self, *, max_bytes: int = 1 << 26) -> None:
        self._max_bytes = max_bytes
        self._values: dict[bytes, _Value] = {}

    async def read(self, keys: Sequence[bytes], now_ns: int) -> dict[bytes, bytes]:
        """See the port."""
        found = {key: self._values[key] for key in keys if key in self._values}
        return {key: value.data for key, value in found.items() if value.expires_ns > now_ns}

    async def put(self, key: bytes, value: bytes, *, scope: bytes, expires_ns: int) -> None:
        """Keep a value."""
        self._values[key] = _Value(value, scope, expires_ns)
        while sum(len(kept.data) for kept in self._values.values()) > self._max_bytes:
            del self._values[min(self._values, key=lambda held: self._values[held].expires_ns)]

    async def delete(self, key: bytes) -> None:
        """Forget a value."""
        self._values.pop(key, None)

    async def size(self) -> tuple[int, int]:
        """See the port."""
        return len(self._values), sum(len(kept.data) for kept in self._values.values())

    async def close(self) -> None:
        """Forget everything."""
        self._values.clear()
