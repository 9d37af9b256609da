"""The desk that takes charges, over a ledger that can be broken."""

import asyncio
from pathlib import Path

import pytest

from farthing.catalog import Catalog, Feature, VirtualKey
from farthing.errors import LedgerUnavailable
from farthing.money import Nano
from farthing.record import Record
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.chargesapi import Booking, ChargeDesk
from gateway.usageevents import UsageEvent
from ledger import reports
from ledger.charges import Charge
from ledger.prices import PriceBook
from ledger.sqlite import SQLiteLedger
from ledger.sqlite_file import SQLiteFile, prepare
from ledger.testing import ManualClock, MemoryLedger

KEY = VirtualKey(id="boss", sha256=b"", tenant="acme")
CATALOG = Catalog(
    tiers=(),
    tasks={},
    features={"search": Feature(name="search", team="web")},
    models={},
    aliases={},
    default_tier="",
    fingerprint="",
)


def event(id_: str) -> UsageEvent:
    return UsageEvent(
        at="",
        id=id_,
        source="/s",
        time_ns=1,
        feature="search",
        task="",
        run="",
        environment="",
        team="",
        provider="",
        model="",
        usage=Usage(),
        seconds=0.0,
        service_tier="",
        cost=Nano(5),
    )


async def knows_all(_tags: Tags) -> None:
    """There is nothing to look for."""


def desk(path: Path, ledger: Booking, seen: list[Record]) -> ChargeDesk:
    prepare(path)
    return ChargeDesk(
        ledger=ledger,
        database=SQLiteFile(path),
        clock=ManualClock(),
        catalog=lambda: CATALOG,
        know=knows_all,
        accounts=lambda tags, at_ns: (),
        prices=PriceBook,
        witness=seen.append,
        body_bytes=1_000,
    )


async def test_a_ledger_that_cannot_be_written_books_nothing_and_tells_nobody(tmp_path: Path) -> None:
    ledger, seen = MemoryLedger(ManualClock()), list[Record]()
    ledger.broken = True

    with pytest.raises(LedgerUnavailable):
        await desk(tmp_path / "ledger.db", ledger, seen).take([event("a"), event("b")], KEY)

    assert (ledger.records, seen) == ({}, [])


async def test_a_ledger_that_cannot_be_read_books_nothing(tmp_path: Path) -> None:
    ledger, seen = MemoryLedger(ManualClock()), list[Record]()
    taking = desk(tmp_path / "ledger.db", ledger, seen)
    (tmp_path / "ledger.db").unlink()

    with pytest.raises(LedgerUnavailable):
        await taking.take([event("a")], KEY)

    assert (ledger.records, seen) == ({}, [])


async def test_a_caller_who_leaves_does_not_keep_the_charge_from_the_books_and_the_metrics(tmp_path: Path) -> None:
    ledger, queued, seen = (
        await SQLiteLedger.open(tmp_path / "ledger.db", ManualClock()),
        asyncio.Event(),
        list[Record](),
    )

    class Watched:
        """Tells when a charge is in the queue, and not yet written."""

        def book(self, charge: Charge) -> "asyncio.Future[bool]":
            queued.set()
            return ledger.book(charge)

    taking = asyncio.ensure_future(desk(tmp_path / "ledger.db", Watched(), seen).take([event("a")], KEY))
    await queued.wait()

    taking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await taking
    assert [record.tags.team for record in seen] == ["web"]
    assert reports.record(SQLiteFile(tmp_path / "ledger.db"), seen[0].id) == seen[0]
    await ledger.close()
