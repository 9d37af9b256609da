"""Embedded: what the ledger knows of the embedding calls of some models."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import msgspec

from farthing.money import Nano
from ledger.database import Database, Session, read_statements
from ledger.reports import SpendRow, spend_in

_STATEMENTS: Final = read_statements("embedded")
_COUNTED_SINCE_SCHEMA: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingTraffic:
    """Embedding calls of a period. `tokens` are those that were sent and billed, `cost` what they cost then.

    `inputs` were asked for and `inputs_sent` sent in the `counted` calls of which that is known: neither those in an
    archive nor those from before inputs were counted.
    """

    requests: int
    tokens: int
    cost: Nano
    avoided: Nano
    counted: int
    inputs: int
    inputs_sent: int


def embedding_traffic(
    database: Database, *, models: Collection[str], feature: str, since_ns: int, until_ns: int
) -> EmbeddingTraffic:
    """The calls received in [since_ns, until_ns) that these models answered (by their names at the provider), of one
    feature or (empty) of all. Blocks. Raises LedgerUnavailable."""
    names = sorted(models)
    with database.reading() as session:
        rows = [row for name in names for row in _spent(session, name, feature, since_ns, until_ns)]
        asked = {"since": since_ns, "until": until_ns, "models": _json(names), "feature": feature}
        (schema,) = session.execute(_STATEMENTS["schema"]).fetchone()
        is_known = int(schema) >= _COUNTED_SINCE_SCHEMA
        found = session.execute(_STATEMENTS["inputs"], asked).fetchone() if is_known else (0, 0, 0)
    requests, inputs, inputs_sent = map(int, found)
    return EmbeddingTraffic(
        requests=sum(row.requests for row in rows),
        tokens=sum(row.usage.input_total for row in rows),
        cost=Nano(sum(row.cost for row in rows)),
        avoided=Nano(sum(row.avoided_cache for row in rows)),
        counted=requests,
        inputs=inputs,
        inputs_sent=inputs_sent,
    )


def _spent(session: Session, model: str, feature: str, since_ns: int, until_ns: int) -> list[SpendRow]:
    where = {"endpoint": "embeddings", "model": model, **({"feature": feature} if feature else {})}
    return spend_in(session, by=(), since_ns=since_ns, until_ns=until_ns, where=where)


def _json(names: Collection[str]) -> str:
    return msgspec.json.encode(names).decode()
