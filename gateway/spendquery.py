"""Spend query: the question "what did X cost" from text to the ledger, and its answer as JSON or CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from farthing.errors import InvalidParameter, LedgerUnavailable
from farthing.money import format_usd
from farthing.usage import TOKEN_CLASSES
from gateway.periods import parse_moment, printed
from ledger import reports
from ledger.database import Database
from ledger.reports import SpendRow

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendQuery:
    """What was asked: grouped by `by`, between two wall times in ns, of the rows that equal `where`."""

    by: tuple[str, ...]
    since_ns: int
    until_ns: int
    where: Mapping[str, str]

    def answer(self, database: Database) -> list[SpendRow]:
        """The rows, dearest first. Raises LedgerUnavailable where there is no ledger."""
        check_ledger(database)
        return reports.spend(database, by=self.by, since_ns=self.since_ns, until_ns=self.until_ns, where=self.where)


def read_query(*, by: str, since: str, until: str, where: Iterable[str], now_ns: int) -> SpendQuery:
    """The query in texts such as by `feature,tier`, since `30d`, where `feature=search`. Raises
    InvalidParameter."""
    pairs = [text.partition("=") for text in where]
    for name, equals, _ in pairs:
        if not equals:
            raise InvalidParameter(f"'{printed(name)}' is not a condition: write name=value.")
    return SpendQuery(
        by=tuple(_dimension(name.strip(), "by") for name in by.split(",")),
        since_ns=parse_moment(since, now_ns),
        until_ns=parse_moment(until, now_ns) if until else now_ns,
        where={_dimension(name.strip(), "where"): value for name, _, value in pairs},
    )


def _dimension(name: str, param: str) -> str:
    if name not in reports.DIMENSIONS:
        known = ", ".join(reports.DIMENSIONS)
        raise InvalidParameter(f"'{printed(name)}' is no dimension of the ledger; known: {known}.", param=param)
    return name


def check_ledger(database: Database) -> None:
    """Raises LedgerUnavailable where there is none: a report on nothing would look like no spend."""
    if not database.is_there():
        raise LedgerUnavailable(
            f"There is no ledger at {database.label}. It is made when the gateway first runs: start `farthing serve`, "
            "or name the right place with --config or --data-dir."
        )


def as_members(row: SpendRow, by: Sequence[str]) -> dict[str, Any]:
    """One row for JSON: amounts as exact decimal text, tokens by class."""
    return {
        **dict(zip(by, row.keys, strict=True)),
        "requests": row.requests,
        "hits": row.hits,
        "cost_usd": format_usd(row.cost),
        "avoided_cache_usd": format_usd(row.avoided_cache),
        "avoided_routing_usd": format_usd(row.avoided_routing),
        "tokens": {name: getattr(row.usage, name) for name in TOKEN_CLASSES},
    }


def as_csv(rows: Iterable[SpendRow], by: Sequence[str]) -> str:
    """The rows with a head line; a text that a spreadsheet would run as a formula gets an apostrophe in
    front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    amounts = ("cost_usd", "avoided_cache_usd", "avoided_routing_usd")
    writer.writerow((*by, "requests", "hits", *amounts, *TOKEN_CLASSES))
    for row in rows:
        members = as_members(row, by)
        writer.writerow(
            (
                *(guarded(key) for key in row.keys),
                row.requests,
                row.hits,
                *(members[name] for name in amounts),
                *members["tokens"].values(),
            )
        )
    return out.getvalue()


def guarded(text: str) -> str:
    """The text, made harmless for spreadsheets."""
    return f"'{text}" if text.startswith(_FORMULA) else text
