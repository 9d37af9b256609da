"""Invoices: what a provider says was used and what it costs, read from its CSV export line by line."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import msgspec

from farthing.errors import InvalidParameter
from farthing.money import Nano, nano_from_usd
from ledger.billednames import plain_name
from ledger.invoiceforms import FORMS, METER_WORDS, Form, Meter, Sum

__all__ = ["FORMS", "Broken", "Invoice", "Line", "Meter", "read_invoice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure of an invoice, of line `number` of its file: of UTC days from `since` to before `until`. `tokens` or
    `cost` (nano-dollars) is None where the file does not tell it. `model` is empty for what belongs to none."""

    number: int
    since: date
    until: date
    model: str
    meter: Meter
    tokens: int | None
    cost: Nano | None


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that could not be read, and why."""

    number: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """A file as read: each of its `rows` gave figures, was `empty` of any, was `left_out` as one of another provider or
    service (rows by reason), or is among the broken ones. `names_providers`: its rows say whose they are."""

    form: str
    rows: int
    empty: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    names_providers: bool = False
    lines: tuple[Line, ...]
    broken: tuple[Broken, ...]


Row = Mapping[str, str]
"""Cells by column."""

OURS: Final = "ai and machine learning"
"""The ServiceCategory of models in FOCUS; a cloud's file holds all that it sells."""
_TOKEN_UNITS: Final = {"tokens": 1, "token": 1, "1000 tokens": 1_000, "1000000 tokens": 1_000_000}
_EPOCH: Final = re.compile(r"\d{9,11}")
_DIRECTIONS: Final = {"input": Meter.INPUT, "output": Meter.OUTPUT}
_ACTIONS: Final = {"read": Meter.CACHE_READ, "write": Meter.CACHE_WRITE}
_MOST_TOKENS: Final = 10**15
_MOST_USD: Final = 10**8
_MOST_NAMED: Final = 40
"""Characters of a name in a reason."""


class _Unreadable(Exception):
    """A row cannot be read; the text says why."""


def read_invoice(path: Path, form: str = "auto", providers: Collection[str] = ()) -> Invoice:
    """The invoice in a CSV file (comma, semicolon or tab), of the `providers` (by their `plain_name`) where its rows
    name any; without `providers`, of all. Raises InvalidParameter where the file cannot be read at all or its columns
    are of no known kind; a row that cannot be read is among `broken`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"{path} cannot be read as UTF-8 text: {error}.", param="file") from None
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = [name.strip().lower() for name in next(reader, [])]
    chosen = _form(form, columns, path)
    return _read(chosen, columns, reader, frozenset(providers))


def _form(name: str, columns: Sequence[str], path: Path) -> Form:
    if name != "auto":
        named = next((form for form in FORMS if form.name == name), None)
        if named is None:
            raise InvalidParameter(f"'{name}' is no kind of file; known: {_known_forms()}.", param="kind")
        candidates: tuple[Form, ...] = (named,)
    else:
        candidates = FORMS
    there = set(columns)
    for form in candidates:
        if all(there.intersection(names) for names in form.told_by):
            return form
    needs = "; ".join(f"{form.name}: {_needs(form)}" for form in candidates)
    raise InvalidParameter(f"{path}: its first line does not name the columns of a known kind ({needs}).", param="file")


def _needs(form: Form) -> str:
    return ", ".join(" or ".join(names) for names in form.told_by)


def _known_forms() -> str:
    return ", ".join(("auto", *(form.name for form in FORMS)))


def _read(form: Form, columns: Sequence[str], reader: Any, providers: Collection[str]) -> Invoice:
    lines: list[Line] = []
    broken: list[Broken] = []
    left_out: Counter[str] = Counter()
    rows = empty = 0
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            rows += 1
            broken.append(Broken(number, f"not CSV: {error}"))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        rows += 1
        try:
            row = _row(columns, cells)
            if reason := _reason_to_leave_out(form, row, providers):
                left_out[reason] += 1
                continue
            found = list(_lines(form, row, number))
        except _Unreadable as error:
            broken.append(Broken(number, str(error)))
            continue
        lines += found
        empty += not found
    return Invoice(
        form=form.name,
        rows=rows,
        empty=empty,
        left_out=left_out,
        names_providers=not set(form.provider).isdisjoint(columns),
        lines=tuple(lines),
        broken=tuple(broken),
    )


def _row(columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(columns):
        raise _Unreadable(f"has {len(cells)} cells, the first line has {len(columns)}")
    return dict(zip(columns, map(str.strip, cells), strict=True))


def _reason_to_leave_out(form: Form, row: Row, providers: Collection[str]) -> str:
    """Why the row is not of this invoice, empty where it is. A row that does not say whose it is, in a file in which
    others do, is unreadable: it is neither counted for a provider nor passed over."""
    category = _cell(row, form.category)
    if category.lower() not in ("", OURS):
        return f"ServiceCategory is {category[:_MOST_NAMED]}"
    told = [row[name] for name in form.provider if name in row]
    if not providers or not told:
        return ""
    named = next(filter(None, told), "")
    if not named:
        raise _Unreadable("it names no provider")
    return "" if plain_name(named) in providers else f"the provider is {named[:_MOST_NAMED]}"


def _lines(form: Form, row: Row, number: int) -> Iterator[Line]:
    since, until = _days(form, row)
    model = _cell(row, form.model)

    def line(meter: Meter, tokens: int | None, cost: Nano | None, model: str = model) -> Line:
        return Line(number=number, since=since, until=until, model=model, meter=meter, tokens=tokens, cost=cost)

    counted = [(meter, _count(row, sums)) for meter, sums in form.counts.items()]
    if not any(tokens is not None for _, tokens in counted):
        yield from _priced(form, row, line)
        return
    for meter, tokens in counted:
        if tokens:
            yield line(meter, tokens, None)


def _priced(form: Form, row: Row, line: Callable[..., Line]) -> Iterator[Line]:
    """A row that names its meter and what it cost."""
    cost, tokens = _amount(row, form), _quantity(row, form)
    if cost is None and tokens is None:
        return
    named = _cell(row, form.meter)
    model = _cell(row, form.model)
    if form.name == "openai-costs":
        model, _, named = named.rpartition(",") if "," in named else (named, "", "")
    details = _details(row, form)
    meter = _meter_of_details(details) or _meter(named)
    tokens = None if meter in (Meter.SEARCHES, Meter.OTHER) else tokens
    yield line(meter, tokens, cost, details.get("ModelId", model.strip()))


def _meter(named: str) -> Meter:
    text = named.lower().replace("no_cache", "").replace("uncached", "")
    return next((meter for pattern, meter in METER_WORDS if pattern.search(text)), Meter.OTHER)


def _meter_of_details(details: Mapping[str, str]) -> Meter | None:
    """By the keys TokenCacheAction and TokenDirection of FOCUS."""
    action, direction = details.get("TokenCacheAction", "").lower(), details.get("TokenDirection", "").lower()
    return _ACTIONS.get(action) or _DIRECTIONS.get(direction)


def _details(row: Row, form: Form) -> Mapping[str, str]:
    text = _cell(row, form.details)
    if not text or text.lower() == "null":
        return {}
    try:
        members = msgspec.json.decode(text.encode(), type=dict[str, object])
    except msgspec.MsgspecError:
        raise _Unreadable(f"{form.details[0]} is not a JSON object") from None
    return {name: value for name, value in members.items() if isinstance(value, str)}


def _cell(row: Row, names: Sequence[str]) -> str:
    return next((row[name] for name in names if name in row), "")


def _days(form: Form, row: Row) -> tuple[date, date]:
    """The UTC days of a row. Where it has no end, or one in the same day, it is one day."""
    begins = _moment(_cell(row, form.since), form.since[0])
    ends = _moment(end, form.until[0]) if (end := _cell(row, form.until)) else begins
    if ends < begins:
        raise _Unreadable("its period ends before it begins")
    since = begins.date()
    until = (ends - timedelta(microseconds=1)).date() + timedelta(days=1)
    return since, max(until, since + timedelta(days=1))


def _moment(text: str, column: str) -> datetime:
    try:
        moment = datetime.fromtimestamp(int(text), UTC) if _EPOCH.fullmatch(text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise _Unreadable(f"{column} '{text[:40]}' is no date") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _count(row: Row, sums: Sequence[Sum]) -> int | None:
    """Tokens of one meter; None where the file has none of its columns."""
    columns = next((sum_ for sum_ in sums if all(name in row for name, _ in sum_)), None)
    if columns is None:
        return None
    tokens = sum(sign * (_tokens(row[name], name) or 0) for name, sign in columns)
    if tokens < 0:
        raise _Unreadable(f"more was taken from {columns[0][0]} than it holds")
    return tokens


def _tokens(text: str, column: str) -> int | None:
    number = _number(text, column)
    if number is None:
        return None
    if number != number.to_integral_value() or not 0 <= number <= _MOST_TOKENS:
        raise _Unreadable(f"{column} '{text[:40]}' is no number of tokens")
    return int(number)


def _number(text: str, column: str) -> Decimal | None:
    if not text or text.lower() == "null":
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise _Unreadable(f"{column} '{text[:40]}' is no number")
    return number


def _amount(row: Row, form: Form) -> Nano | None:
    """Nano-dollars; credits are negative."""
    text = _cell(row, form.cost)
    usd = _number(text, form.cost[0])
    if usd is None:
        return None
    currency = _cell(row, form.currency) or "USD"
    if currency.upper() != "USD":
        raise _Unreadable(f"the amount is in {currency[:10]}, and the ledger in USD")
    if abs(usd) > _MOST_USD:
        raise _Unreadable(f"{form.cost[0]} '{text[:40]}' is no amount")
    return nano_from_usd(usd)


def _quantity(row: Row, form: Form) -> int | None:
    """Tokens, where the quantity is one of tokens (and not of token-hours or requests)."""
    factor = _TOKEN_UNITS.get(_cell(row, form.unit).lower())
    if factor is None:
        return None
    number = _number(_cell(row, form.quantity), form.quantity[0])
    return None if number is None else _tokens(str(number * factor), form.quantity[0])
