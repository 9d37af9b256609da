"""A store in memory: for tests, and for whoever wants nothing on disk."""

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

    async def get(self, key: bytes, now_ns: int) -> bytes | None:
        """The live value, or None."""
        value = self._values.get(key)
        return value.data if value is not None and value.expires_ns > now_ns else None

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
