"""Adjustments: what records would cost at today's price book, written beside them and never over them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import msgspec

from farthing.errors import InvalidParameter, UnpricedModel
from farthing.money import Nano, Rates
from farthing.record import Record, extras_cost
from ledger.bills import Priced, portions_of, price_portions
from ledger.database import Database, Session, read_statements
from ledger.price import Price, version_in_tier
from ledger.rollups import DAY_NS, DIMENSIONS, HOUR_NS, KEY_BITS, Keys
from ledger.rows import COLUMNS, Row, extras_text, record_of
from ledger.statement import Portion

CHUNK: Final = 1_000
"""Records in one transaction, which is some ten milliseconds, so that the gateway's own commits need not wait long."""
MOST_TEXT: Final = 500
_COLUMNS: Final = (
    *("record_id", "received_ns", "tenant", "key_id", "feature", "task", "run", "environment", "team", "endpoint"),
    *("outcome", "model_served", "provider", "tier", "cache", "old_cost", "new_cost", "delta"),
)
"""The first columns of the statement `insert`."""
_AT: Final = _COLUMNS.index("received_ns")
_DELTA: Final = _COLUMNS.index("delta")
_rolled_up_by: Final = itemgetter(*map(_COLUMNS.index, DIMENSIONS))
_RECEIVED: Final = COLUMNS.index("received_ns")
_STATEMENTS: Final = read_statements("adjustments")
_PRICED: Final = _STATEMENTS["priced"].format(columns=", ".join(COLUMNS))
_encode: Final = msgspec.json.Encoder().encode
_decode_rates: Final = msgspec.json.Decoder(dict[str, int]).decode

PriceOf = Callable[[str, str, int, str], Price]
"""The price of a record's provider and model at a time (wall ns) in a service tier. Raises UnpricedModel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """Which records, received in [since_ns, until_ns), are priced anew; empty `provider` or `model`: all. `reason` and
    `author` are kept with every adjustment. Raises InvalidParameter where one of them is too long."""

    since_ns: int
    until_ns: int
    provider: str = ""
    model: str = ""
    reason: str = ""
    author: str = ""
    now_ns: int

    def __post_init__(self) -> None:
        for name in ("reason", "author"):
            if len(getattr(self, name)) > MOST_TEXT:
                raise InvalidParameter(f"The {name} is longer than {MOST_TEXT} characters: shorten it.", param=name)


@dataclass(slots=True)
class Sums:
    """What became of one model's records. `old` and `new` are the costs of those that changed, nano-dollars;
    `unpriced` have no price any more; `composed` cost something that their rates and extras do not explain, or have an
    extra for which no price is known."""

    records: int = 0
    changed: int = 0
    old: int = 0
    new: int = 0
    unpriced: int = 0
    composed: int = 0


@dataclass(frozen=True, slots=True)
class Repriced:
    """By provider and model, what a re-pricing did, or would do."""

    models: dict[tuple[str, str], Sums] = field(default_factory=dict)

    def add(self, other: "Repriced") -> None:
        """Count what became of further records."""
        for model, sums in other.models.items():
            known = self.models.setdefault(model, Sums())
            for name in Sums.__dataclass_fields__:
                setattr(known, name, getattr(known, name) + getattr(sums, name))

    @property
    def delta(self) -> Nano:
        """What all adjustments come to, nano-dollars."""
        return Nano(sum(sums.new - sums.old for sums in self.models.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """One correction of one record's cost."""

    old_cost: Nano
    new_cost: Nano
    delta: Nano
    rates: str
    price_version: str
    reason: str
    author: str
    created_ns: int
    extras: str


def reprice(database: Database, repricing: Repricing, price_of: PriceOf, *, dry_run: bool = False) -> Repriced:
    """Write an adjustment for each record that costs something else at the present price book for its own time.

    Records whose cost was stated, not computed, are left alone. A second run finds nothing to do. Blocks; raises
    LedgerUnavailable, with what was committed until then (a run that is repeated goes on from there).
    """
    result = Repriced()
    with database.reading() if dry_run else database.working() as session:
        last: tuple[int, int] | None = (-1, 0)
        while last is not None:
            rows = session.execute(_PRICED, _asked(repricing, last)).fetchall()
            chunk, new = _price_anew(rows, repricing, price_of)
            if not dry_run and new and not _insert(session, new):
                continue  # another run has corrected some of them since they were read: read them again
            result.add(chunk)
            last = (rows[-1][2 + _RECEIVED], rows[-1][0]) if len(rows) == CHUNK else None
    return result


def adjustments_of(database: Database, record_id: str) -> list[Adjustment]:
    """The corrections of one record, oldest first. Blocks; raises LedgerUnavailable."""
    with database.reading() as session:
        rows = session.execute(_STATEMENTS["of_record"], {"id": record_id}).fetchall()
    names = Adjustment.__dataclass_fields__
    return [Adjustment(**dict(zip(names, row, strict=True))) for row in rows]


def _price_anew(rows: Sequence[Row], repricing: Repricing, price_of: PriceOf) -> tuple[Repriced, list[Row]]:
    """What becomes of some records, and the adjustments to be written; the lock of the ledger is not needed yet."""
    result = Repriced()
    new = [_adjust(row, repricing, price_of, result) for row in rows]
    return result, [row for row in new if row is not None]


class _Outrun(Exception):
    """Another run has corrected some of the records meanwhile."""


def _insert(session: Session, new: Sequence[Row]) -> bool:
    """Write all, in one transaction; False, with nothing done, where a record has other corrections than were seen."""
    with suppress(_Outrun), session.transaction():
        if session.executemany(_STATEMENTS["insert"], new).rowcount != len(new):
            raise _Outrun
        _sum_up(session, new)
        return True
    return False


def _sum_up(session: Session, new: Sequence[Row]) -> None:
    """Count new adjustments in the sums from which reports read whole hours and days."""
    keys, hours, days = Keys(), defaultdict[int, int](int), defaultdict[int, int](int)
    for row in new:
        key = keys.find(session, _rolled_up_by(row))[0]
        delta = row[_DELTA]
        hours[row[_AT] // HOUR_NS << KEY_BITS | key] += delta
        days[row[_AT] // DAY_NS << KEY_BITS | key] += delta
    for table, sums in (("adjusted_hours", hours), ("adjusted_days", days)):
        session.executemany(_STATEMENTS["add_sum"].format(table=table), sorted(sums.items()))


def _asked(repricing: Repricing, last: tuple[int, int]) -> dict[str, Any]:
    return {
        # So that the index is entered where the last chunk ended, however far that is from the beginning.
        "since_ns": max(repricing.since_ns, last[0]),
        "until_ns": repricing.until_ns,
        "provider": repricing.provider,
        "model": repricing.model,
        "last_ns": last[0],
        "last_row": last[1],
        "chunk": CHUNK,
    }


def _adjust(row: Row, repricing: Repricing, price_of: PriceOf, result: Repriced) -> Row | None:
    """The row of the adjustment, None where the cost stays."""
    record, corrected = record_of(row[2:]), row[1]
    sums = result.models.setdefault((record.provider, record.model_served), Sums())
    sums.records += 1
    priced = priced_part(record)
    if priced is None:
        sums.composed += 1
        return None
    try:
        anew = _priced_anew(record, price_of)
    except UnpricedModel:
        sums.unpriced += 1
        return None
    if anew.unpriced:
        sums.composed += 1
        return None
    old = record.cost + corrected
    new = record.cost - priced + anew.cost
    if new == old:
        return None
    sums.changed += 1
    sums.old += old
    sums.new += new
    text = _encode(anew.rates.as_dict()).decode()
    version = version_in_tier(anew.version, record.service_tier)
    signed = (repricing.reason, repricing.author, repricing.now_ns)
    kept = extras_text(anew.extras)
    return (*_dimensions(record), old, new, new - old, text, version, *signed, kept, record.id, corrected)


def _priced_anew(record: Record, price_of: PriceOf) -> Priced:
    """What the attempt that answered costs at today's prices for its time. Raises UnpricedModel, also where it is
    another model that made a part of the answer."""

    def of_portion(portion: Portion) -> Price:
        model = portion.model or record.model_served
        return price_of(record.provider, model, record.received_ns, record.service_tier)

    portions = portions_of(record.usage, record.extras)
    return price_portions(portions, record.usage, of_portion, upstream_seconds(record))


def _dimensions(record: Record) -> Row:
    tags = record.tags
    return (
        *(record.id, record.received_ns, tags.tenant, tags.key_id, tags.feature, tags.task, tags.run),
        *(tags.environment, tags.team, str(record.endpoint), record.outcome.value, record.model_served),
        *(record.provider, record.tier, record.cache.value),
    )


def upstream_seconds(record: Record) -> float:
    """The seconds for which the upstream that answered was charged."""
    return record.attempts[-1].seconds if record.attempts else record.seconds


def priced_part(record: Record) -> Nano | None:
    """What of the record's cost its own rates and extras explain: all of it, or that of the attempt that answered. None
    where they explain neither (a row from before there were extras), so that no figure is made up."""
    by_tokens = _rates_of(record.rates).cost(record.usage, upstream_seconds(record))
    explained = Nano(by_tokens + extras_cost(record.extras))
    answered = record.attempts[-1].cost if record.attempts else record.cost
    return explained if explained in (record.cost, answered) else None


@lru_cache(maxsize=1_024)
def _rates_of(text: str) -> Rates:
    return Rates(**_decode_rates(text))  # type: ignore[arg-type]
