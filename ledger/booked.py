"""Booked: what the ledger has of a provider, by day and model and split into the meters that an invoice has."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

import msgspec

from farthing.errors import InvalidParameter
from farthing.money import FEMTO_PER_NANO, Nano
from farthing.record import Attempt, CacheOutcome, Extra
from farthing.usage import TOKEN_CLASSES, UsageSource
from ledger.database import Database, Session, read_statements
from ledger.invoiceforms import Meter
from ledger.price import TOKEN_EXTRAS
from ledger.reports import read_state

METERS: Final[Mapping[str, Meter]] = {
    "input_uncached": Meter.INPUT,
    "input_audio": Meter.INPUT,
    "input_image": Meter.INPUT,
    "cache_read": Meter.CACHE_READ,
    "cache_write_5m": Meter.CACHE_WRITE,
    "cache_write_1h": Meter.CACHE_WRITE,
    "output": Meter.OUTPUT,
    "reasoning": Meter.OUTPUT,
    "output_audio": Meter.OUTPUT,
}
"""The meter that bills a token class of ours."""
EXTRA_METERS: Final[Mapping[str, Meter]] = {
    "cached_audio": Meter.CACHE_READ,
    "cached_image": Meter.CACHE_READ,
    "input_video": Meter.INPUT,
    "output_image": Meter.IMAGE_OUTPUT,
    "output_video": Meter.VIDEO_OUTPUT,
    "output_citation": Meter.CITATIONS,
    "web_searches": Meter.SEARCHES,
    "storage_searches": Meter.SEARCHES,
}
"""The meter that bills what is no token class (see `ledger.price`)."""

_HITS: Final = ", ".join(f"'{outcome.value}'" for outcome in CacheOutcome if outcome.is_hit)
_STATEMENTS: Final = read_statements("reconcile")
_FAILED: Final = _STATEMENTS["failed"]
_BOOKED: Final = _STATEMENTS["booked"].format(
    sums=", ".join(f"sum({name})" for name in TOKEN_CLASSES), tokens=" + ".join(TOKEN_CLASSES), hits=_HITS
)
_decode_rates: Final = msgspec.json.Decoder(dict[str, int]).decode
_decode_attempts: Final = msgspec.json.Decoder(tuple[Attempt, ...]).decode
_decode_extras: Final = msgspec.json.Decoder(tuple[Extra, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """Figures of the ledger on one day. `estimated` of them are from records whose usage the provider did not give."""

    day: date
    model: str
    meter: Meter
    tokens: int
    cost: Nano
    estimated: int


def read_booked(database: Database, providers: Sequence[str], since: date, until: date) -> list[Booked]:
    """What the ledger has of these providers from `since` to before `until` (UTC days), corrections included. Raises
    LedgerUnavailable, and InvalidParameter where records of then are in an archive. Blocks."""
    since_ns = _day_ns(since)
    asked = {
        "since_ns": since_ns,
        "until_ns": _day_ns(until),
        "providers": msgspec.json.encode(list(providers)).decode(),
    }
    with database.reading() as session:
        _refuse_archived(session, since_ns)
        rows = session.execute(_BOOKED, asked).fetchall()
        failed = session.execute(_FAILED, {**asked, "billed": '%"billed":%'}).fetchall()
    return _together(
        [
            *(booked for row in rows for booked in _booked(*row[:7], tokens=row[7:])),
            *(booked for row in failed for booked in _failed(providers, *row)),
        ]
    )


def _day_ns(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9


def _refuse_archived(session: Session, since_ns: int) -> None:
    archived_ns = read_state(session).archived_ns
    if since_ns < archived_ns:
        day = datetime.fromtimestamp(archived_ns // 10**9, UTC).date()
        raise InvalidParameter(
            f"Records of before {day} are in an archive, so the invoice cannot be compared: leave its earlier days "
            "out, or bring them back with `farthing ledger restore`."
        )


def _booked(
    day: str, model: str, rates: str, estimated: int, extras: str, count: int, cost: int, *, tokens: Sequence[int]
) -> Iterable[Booked]:
    """The meters of one group of records; what their rates and extras do not explain is a fee."""
    split = _Split(model, _decode_rates(rates), _decode_extras(extras), count)
    for name, number in zip(TOKEN_CLASSES, tokens, strict=True):
        split.add_class(name, number)
    return split.booked(date.fromisoformat(day), cost, estimated=bool(estimated))


def _failed(providers: Collection[str], day: str, provider: str, model: str, attempts: str) -> Iterable[Booked]:
    """What attempts that failed billed is in the cost of the row that answered, and belongs where they were made."""
    at = date.fromisoformat(day)
    for attempt in _decode_attempts(attempts):
        if not (billed := attempt.billed):
            continue
        if provider in providers:
            yield Booked(day=at, model=model, meter=Meter.OTHER, tokens=0, cost=Nano(-attempt.cost), estimated=0)
        if billed.provider in providers:
            split = _Split(billed.model, _decode_rates(billed.rates), billed.extras, 1)
            for name in TOKEN_CLASSES:
                split.add_class(name, getattr(billed.usage, name))
            is_estimated = billed.usage.source is UsageSource.ESTIMATED
            yield from split.booked(at, attempt.cost, estimated=is_estimated)


def _together(all_: Iterable[Booked]) -> list[Booked]:
    """One for each day, model, meter; none where nothing is left."""
    sums: dict[tuple[date, str, Meter], Booked] = {}
    for one in all_:
        key = one.day, one.model, one.meter
        sums[key] = _sum(sums[key], one) if key in sums else one
    return [one for one in sums.values() if one.tokens or one.cost]


def _sum(one: Booked, other: Booked) -> Booked:
    tokens, cost = one.tokens + other.tokens, Nano(one.cost + other.cost)
    return replace(one, tokens=tokens, cost=cost, estimated=one.estimated + other.estimated)


class _Split:
    """Tokens and femto-dollars of `count` records alike, by model and meter."""

    def __init__(self, model: str, rates: Mapping[str, int], extras: tuple[Extra, ...], count: int) -> None:
        self._model, self._rates, self._count, self._extras = model, rates, count, extras
        self._sums: defaultdict[tuple[str, Meter], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for extra in extras:
            self._add_extra(extra)

    def booked(self, day: date, cost: int, *, estimated: bool) -> Iterable[Booked]:
        """What the meters come to, and what is left of the whole cost in nano-dollars."""
        costs = {key: round(Decimal(femto) / FEMTO_PER_NANO) for key, (_, femto) in self._sums.items()}
        rest = cost - sum(costs.values())
        # A nano-dollar a record, and one a meter, is what rounding each of them can have come to.
        if abs(rest) > self._count + len(costs):
            costs[self._model, Meter.OTHER] = rest
        for (model, meter), amount in costs.items():
            tokens = self._sums[model, meter][0]
            yield Booked(
                day=day,
                model=model,
                meter=meter,
                tokens=tokens,
                cost=Nano(amount),
                estimated=tokens if estimated else 0,
            )

    def add_class(self, name: str, tokens: int) -> None:
        """Tokens of a class, of all records together."""
        self._add(self._model, METERS[name], tokens, tokens * self._rates.get(name, 0))

    def _add_extra(self, extra: Extra) -> None:
        """Of each record: its price, and its tokens where the meter of their class is not the one that bills them."""
        model, number = extra.model or self._model, extra.quantity * self._count
        if extra.name in METERS:
            self._move(number, extra.name, self._rates.get(extra.name, 0), (model, METERS[extra.name]), extra.rate)
            return
        meter = EXTRA_METERS.get(extra.name, Meter.OTHER)
        counted_as = TOKEN_EXTRAS.get(extra.name, ("", ""))[1]
        if counted_as:
            self._move(number, counted_as, self._rate(counted_as, extra.part), (model, meter), extra.rate, of=model)
        else:
            self._add(model, meter, 0 if meter is Meter.SEARCHES else number, number * extra.rate)

    def _move(self, number: int, class_: str, rate: int, to: tuple[str, Meter], beyond: int, *, of: str = "") -> None:
        self._add(of or self._model, METERS[class_], -number, -number * rate)
        self._add(*to, number, number * (rate + beyond))

    def _rate(self, class_: str, part: int) -> int:
        """What a token of a class costs in a part of the answer."""
        beyond = (extra.rate for extra in self._extras if part and extra.part == part and extra.name == class_)
        return self._rates.get(class_, 0) + next(beyond, 0)

    def _add(self, model: str, meter: Meter, tokens: int, femto: int) -> None:
        known, cost = self._sums[model, meter]
        self._sums[model, meter] = known + tokens, cost + femto
