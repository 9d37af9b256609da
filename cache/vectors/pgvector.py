"""Vectors in PostgreSQL with pgvector: compared by the server, all of a scope, so that none is missed."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from cache.rows import Neighbour, SemanticRow
from cache.stores.postgres_link import PostgresLink

_LOOK_EVERY: Final = 100
"""Rows kept by this process between two looks at how many a scope has: counting 50,000 takes some milliseconds."""

_NEAR: Final = b"""
    WITH near AS MATERIALIZED (
        SELECT id, CASE WHEN vector_dims(vector) = %(dimension)s THEN -(vector <#> %(vector)s::vector) END AS cosine
        FROM vectors WHERE scope = %(scope)s AND expires_ns > %(now_ns)s
        ORDER BY cosine DESC NULLS LAST LIMIT %(k)s
    )
    SELECT questions.id, prompt, answer, writer, admitted, cosine FROM near JOIN questions ON questions.id = near.id
    WHERE cosine >= %(floor)s::float8 ORDER BY cosine DESC
"""
_ANY: Final = b"SELECT 1 FROM vectors WHERE scope = %s AND expires_ns > %s LIMIT 1"
_OLDEST: Final = b"SELECT id FROM vectors WHERE scope = %s ORDER BY id DESC OFFSET %s"


class PgvectorNearby:
    """Port `Nearby` over the rows of `PgvectorRows`, whose link this is. Raises RowsAway or psycopg.Error where the
    server does not answer."""

    def __init__(self, link: PostgresLink) -> None:
        self._link = link
        self._kept = 0

    def ready(self) -> bool:
        """See the port."""
        return self._link.ready()

    def is_empty(self, scope: bytes, now_ns: int) -> bool:
        """See the port."""
        return not self._rows(_ANY, (scope, now_ns))

    def near(self, scope: bytes, vector: NDArray[np.float32], *, k: int, floor: float, now_ns: int) -> list[Neighbour]:
        """See the port."""
        asked = Unit(np.asarray(vector, np.float32).tobytes())
        values = {"scope": scope, "vector": asked, "dimension": len(vector)}
        rows = self._rows(_NEAR, {**values, "now_ns": now_ns, "k": k, "floor": floor})
        return [Neighbour(row=row_of(*row), cosine=cosine) for *row, cosine in rows]

    def excess(self, scope: bytes, keep: int, now_ns: int) -> list[int]:
        """See the port."""
        del now_ns
        self._kept += 1
        if self._kept % _LOOK_EVERY:
            return []
        return [row_id for (row_id,) in self._rows(_OLDEST, (scope, keep))]

    def forget(self, scope: bytes, ids: Sequence[int]) -> None:
        """See the port: the rows are all there is."""

    def close(self) -> None:
        """See the port: the rows close the link."""

    def _rows(self, statement: bytes, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._link.ask(lambda connection: connection.execute(statement, values, binary=True).fetchall())


class Unit(bytes):
    """A vector as float32, in this machine's order of bytes."""


class UnitDumper(Dumper):
    """As the type vector is sent: two short integers, the length and 0, then the numbers, all with the high byte
    first. Without an OID: the statement says what it is."""

    format = Format.BINARY

    def dump(self, obj: Unit) -> Buffer:
        numbers = np.frombuffer(obj, np.float32)
        return struct.pack(">hh", len(numbers), 0) + numbers.astype(">f4").tobytes()


def row_of(row_id: int, prompt: bytes, answer: bytes, writer: str, admitted: bool) -> SemanticRow:
    """A row as the server tells it."""
    return SemanticRow(row_id, prompt.decode(), answer, writer, admitted)
