"""Reconcile: the ledger beside a provider's invoice, by period, model and meter, with the likely cause of each gap."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from farthing.errors import InvalidParameter
from ledger.booked import Booked
from ledger.invoices import Broken, Invoice, Line, Meter

_ELSE: Final[Mapping[Meter, Meter]] = {
    Meter.IMAGE_OUTPUT: Meter.OUTPUT,
    Meter.VIDEO_OUTPUT: Meter.OUTPUT,
    Meter.CITATIONS: Meter.OTHER,
    Meter.SEARCHES: Meter.OTHER,
}
"""Under which meter an invoice has what it does not tell by itself."""
_DATED: Final = re.compile(r"-20\d\d-?\d\d-?\d\d$")
CLOSE: Final = Decimal("0.001")
"""Figures that differ by less are the same figure, rounded."""
CENT: Final = 10_000_000
"""Invoices are rounded to cents, in nano-dollars."""
INPUTS: Final = (Meter.INPUT, Meter.CACHE_READ, Meter.CACHE_WRITE)


class Cause(StrEnum):
    """Why a figure of the ledger and one of the invoice may differ."""

    NONE = "agrees"
    ROUNDING = "rounding"
    NOT_BOOKED = "missing days: the ledger has nothing of the provider then"
    NOT_BILLED = "missing days: the invoice has nothing then"
    FEE = "a fee or credit without a model"
    UNKNOWN_MODEL = "unknown model: not in the ledger under that name"
    UNBILLED_MODEL = "model not on the invoice under that name"
    CACHE_CLASS = "cache class difference: the input agrees, its classes do not"
    PRICE = "price difference: the tokens agree"
    OUTSIDE = "calls outside of the gateway"
    ESTIMATED = "estimates in the ledger"
    NOT_YET = "the ledger has more: not billed yet, or another account"
    UNCLEAR = "price, or calls outside of the gateway: compare the usage export too"


class Cell(NamedTuple):
    """What is compared: a period of UTC days, a model by its common name, and a meter (empty: all of them)."""

    since: date
    until: date
    model: str
    meter: str


@dataclass(slots=True)
class Figures:
    """Tokens and nano-dollars of one side; None where that side does not tell them."""

    tokens: int | None = None
    cost: int | None = None
    estimated: int = 0

    def add(self, tokens: int | None, cost: int | None, estimated: int = 0) -> None:
        """Count further ones."""
        if tokens is not None:
            self.tokens = (self.tokens or 0) + tokens
        if cost is not None:
            self.cost = (self.cost or 0) + cost
        self.estimated += estimated


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One cell of both sides. A side that has nothing there has zeros for what the invoice tells at all."""

    cell: Cell
    ledger: Figures
    invoice: Figures
    cause: Cause

    @property
    def tokens(self) -> int | None:
        """Ledger less invoice, None where the invoice tells no tokens."""
        return _difference(self.ledger.tokens, self.invoice.tokens)

    @property
    def cost(self) -> int | None:
        """Ledger less invoice in nano-dollars, None where the invoice tells no costs."""
        return _difference(self.ledger.cost, self.invoice.cost)


def _difference(ledger: int | None, invoice: int | None) -> int | None:
    return None if ledger is None or invoice is None else ledger - invoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """Both sides, cell by cell, and what of the file could not be read."""

    gaps: tuple[Gap, ...]
    broken: tuple[Broken, ...] = field(default=())

    @property
    def in_money(self) -> bool:
        """True where the invoice tells costs, so that the gap is one of money; else it is one of tokens."""
        return any(gap.invoice.cost is not None for gap in self.gaps)

    @property
    def totals(self) -> tuple[int, int]:
        """Ledger and invoice, in nano-dollars or tokens."""
        name = "cost" if self.in_money else "tokens"
        both = [(getattr(gap.ledger, name) or 0, getattr(gap.invoice, name) or 0) for gap in self.gaps]
        return sum(ledger for ledger, _ in both), sum(invoice for _, invoice in both)

    @property
    def share(self) -> Decimal:
        """|ledger - invoice| / invoice; 1 where only the ledger has something."""
        ledger, invoice = self.totals
        if ledger == invoice:
            return Decimal(0)
        return abs(Decimal(ledger - invoice)) / abs(invoice) if invoice else Decimal(1)


def common_name(model: str) -> str:
    """The name under which both sides know a model: small letters, dashes, without the date of a snapshot.
    `Claude Haiku 4.5`, `claude-haiku-4-5-20251001` and `claude-haiku-4-5` are one."""
    return _DATED.sub("", re.sub(r"[\s._@:]+", "-", model.strip().lower()))


def period_of(invoice: Invoice) -> tuple[date, date]:
    """The UTC days of an invoice. Raises InvalidParameter for one without any figure."""
    if not invoice.lines:
        broken = f" The first broken line is {invoice.broken[0].number}." if invoice.broken else ""
        raise InvalidParameter(f"The file has no line with a figure.{broken}", param="file")
    return min(line.since for line in invoice.lines), max(line.until for line in invoice.lines)


def reconcile(booked: Sequence[Booked], invoice: Invoice) -> Reconciliation:
    """Put both sides side by side. Where the invoice does not tell models, or meters, neither does the comparison."""
    by_model = any(line.model for line in invoice.lines)
    by_meter = any(line.meter is not Meter.OTHER for line in invoice.lines)
    cells: dict[Cell, tuple[Figures, Figures]] = {}

    def cell(since: date, until: date, model: str, meter: Meter) -> tuple[Figures, Figures]:
        key = Cell(since, until, common_name(model) if by_model else "", meter.value if by_meter else "")
        return cells.setdefault(key, (Figures(), Figures()))

    for line in invoice.lines:
        cell(line.since, line.until, line.model, line.meter)[1].add(line.tokens, line.cost)
    periods = _periods(invoice.lines)
    told = {line.meter for line in invoice.lines}
    for one in booked:
        since, until = periods.get(one.day, (one.day, one.day + timedelta(days=1)))
        meter = one.meter if one.meter in told else _ELSE.get(one.meter, one.meter)
        cell(since, until, one.model, meter)[0].add(one.tokens, one.cost, one.estimated)
    _fill(cells.values())
    judge = _Judge(cells, by_model=by_model)
    gaps = [
        Gap(cell=key, ledger=ledger, invoice=billed, cause=judge.cause(key, ledger, billed))
        for key, (ledger, billed) in sorted(cells.items())
    ]
    return Reconciliation(gaps=tuple(gaps), broken=invoice.broken)


def _periods(lines: Iterable[Line]) -> dict[date, tuple[date, date]]:
    """For each day the shortest period of the invoice that holds it."""
    periods: dict[date, tuple[date, date]] = {}
    for since, until in sorted({(line.since, line.until) for line in lines}, key=lambda one: one[0] - one[1]):
        for offset in range((until - since).days):
            periods[since + timedelta(days=offset)] = since, until
    return periods


def _fill(cells: Iterable[tuple[Figures, Figures]]) -> None:
    """Zeros where a side has nothing in a cell; None only for what the invoice does not tell."""
    pairs = list(cells)
    tells_cost = any(billed.cost is not None for _, billed in pairs)
    tells_tokens = any(billed.tokens is not None for _, billed in pairs)
    for ledger, billed in pairs:
        is_empty = billed.cost is None and billed.tokens is None
        ledger.tokens, ledger.cost = ledger.tokens or 0, ledger.cost or 0
        if tells_cost and billed.cost is None:
            billed.cost = 0
        if tells_tokens and is_empty:
            billed.tokens = 0


class _Judge:
    """Knows both sides whole, so that it can tell why they differ in one place."""

    def __init__(self, cells: Mapping[Cell, tuple[Figures, Figures]], *, by_model: bool) -> None:
        self._by_model = by_model
        self._booked_days: set[date] = set()
        self._billed_days: set[date] = set()
        self._booked_models: set[str] = set()
        self._billed_models: set[str] = set()
        self._inputs: defaultdict[tuple[date, str], list[int]] = defaultdict(lambda: [0, 0])
        for cell, (ledger, billed) in cells.items():
            if ledger.tokens or ledger.cost:
                self._booked_days.add(cell.since)
                self._booked_models.add(cell.model)
            if billed.tokens or billed.cost:
                self._billed_days.add(cell.since)
                self._billed_models.add(cell.model)
            if cell.meter in INPUTS:
                both = self._inputs[cell.since, cell.model]
                both[0] += ledger.tokens or 0
                both[1] += billed.tokens or 0

    def cause(self, cell: Cell, ledger: Figures, billed: Figures) -> Cause:
        """The likely cause, by what is plainest first."""
        if _same(ledger.tokens, billed.tokens) and _same(ledger.cost, billed.cost):
            return Cause.NONE
        if _close(ledger.tokens, billed.tokens) and _rounded(ledger.cost, billed.cost):
            return Cause.ROUNDING
        if cell.since not in self._booked_days:
            return Cause.NOT_BOOKED
        if cell.since not in self._billed_days:
            return Cause.NOT_BILLED
        return self._of_model(cell) or self._of_figures(cell, ledger, billed)

    def _of_model(self, cell: Cell) -> Cause | None:
        if not self._by_model:
            return None
        if not cell.model or (cell.meter == Meter.OTHER and cell.model in self._booked_models):
            return Cause.FEE
        if cell.model not in self._booked_models:
            return Cause.UNKNOWN_MODEL
        return None if cell.model in self._billed_models else Cause.UNBILLED_MODEL

    def _of_figures(self, cell: Cell, ledger: Figures, billed: Figures) -> Cause:
        if billed.tokens is None:
            return Cause.ESTIMATED if ledger.estimated else Cause.UNCLEAR
        if _close(ledger.tokens, billed.tokens):
            return Cause.PRICE
        if cell.meter in INPUTS and _close(*self._inputs[cell.since, cell.model]):
            return Cause.CACHE_CLASS
        if ledger.estimated:
            return Cause.ESTIMATED
        return Cause.OUTSIDE if (ledger.tokens or 0) < billed.tokens else Cause.NOT_YET


def _same(ledger: int | None, billed: int | None) -> bool:
    return billed is None or ledger == billed


def _close(ledger: int | None, billed: int | None) -> bool:
    if ledger is None or billed is None:
        return True
    return abs(ledger - billed) <= abs(billed) * CLOSE


def _rounded(ledger: int | None, billed: int | None) -> bool:
    return _close(ledger, billed) or (ledger is not None and billed is not None and abs(ledger - billed) <= CENT // 2)
