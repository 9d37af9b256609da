"""Charges: usage that tools outside of the gateway report, booked once for each event as a record like any other."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from farthing.catalog import Budget
from farthing.hold import Account
from farthing.money import Nano
from farthing.record import Record
from farthing.tags import Tags
from ledger.amendments import Amendments, Raise, Run
from ledger.budgets import BudgetBook
from ledger.database import Database, read_statements
from ledger.rows import Row

EXTERNAL: Final = "external"
"""The endpoint of such records: what tells them from calls that went through the gateway."""

COLUMNS: Final = (
    *("record_id", "tenant", "source", "event_id", "event_ns"),
    *("cost", "price_version", "booked_ns", "booked_by"),
)
"""The columns of `charges`."""

_FIND: Final = read_statements("charges")["find"]


@dataclass(frozen=True, slots=True)
class EventKey:
    """What makes an event the same one: who sent it, and the `source` and `id` of its CloudEvent."""

    tenant: str
    source: str
    id: str

    @property
    def record_id(self) -> str:
        """The id of its record, which follows from the key alone: the same event can only be written once."""
        parts = (self.tenant, self.source, self.id)
        text = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return f"ext-{hashlib.sha256(text).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """An event, priced: its record (whose id is the key's), the accounts it draws on, when and by which virtual key it
    was booked (wall ns)."""

    key: EventKey
    record: Record
    accounts: tuple[Account, ...]
    booked_ns: int
    booked_by: str

    def row(self) -> Row:
        """The row of `charges`, in the order of COLUMNS."""
        record, key = self.record, self.key
        return (
            *(record.id, key.tenant, key.source, key.id, record.received_ns),
            *(record.cost, record.price_version, self.booked_ns, self.booked_by),
        )


class _EveryRunOpen:
    """Amendments in which no run is closed: what was spent on one counts against its cap all the same."""

    def __init__(self, amendments: Amendments) -> None:
        self._amendments = amendments
        self.version = amendments.version

    def raises(self) -> tuple[Raise, ...]:
        """As they are."""
        return self._amendments.raises()

    def run(self, tenant: str, name: str) -> Run | None:
        """The run as if it were open."""
        run = self._amendments.run(tenant, name)
        return None if run is None else replace(run, closed_ns=None, until_ns=None)


def charged_accounts(budgets: Sequence[Budget], amendments: Amendments, tags: Tags, at_ns: int) -> tuple[Account, ...]:
    """The accounts that a charge with these tags at wall ns `at_ns` draws on: those that would bind a call, and those
    of a run that is closed. Raises LedgerUnavailable where a run cannot be looked up."""
    return BudgetBook(budgets, _EveryRunOpen(amendments)).accounts(tags, at_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What is on the books for an event."""

    record_id: str
    cost: Nano
    price_version: str
    booked_ns: int


def booked(database: Database, record_ids: Iterable[str]) -> Mapping[str, Booked]:
    """Those of the charges that the ledger has, by record id. Raises LedgerUnavailable. Blocks."""
    found: dict[str, Booked] = {}
    with database.reading() as session:
        for id_ in record_ids:
            for cost, version, booked_ns in session.execute(_FIND, {"record_id": id_}):
                found[id_] = Booked(record_id=id_, cost=Nano(cost), price_version=version, booked_ns=booked_ns)
    return found
