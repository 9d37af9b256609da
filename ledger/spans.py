"""Spans: a period cut into whole UTC days, whole hours, and the rest, each told from the coarsest sums there are."""

from dataclasses import dataclass

from ledger.rollups import DAY_NS, HOUR_NS

Range = tuple[int, int]
"""From the first to before the second."""


@dataclass(frozen=True, slots=True)
class Spans:
    """`days` and `hours` count from 1970, `rest` is in wall ns. Together they are the period, without overlap."""

    days: tuple[Range, ...]
    hours: tuple[Range, ...]
    rest: tuple[Range, ...]


def spans(since_ns: int, until_ns: int, days_until: int) -> Spans:
    """The period [since_ns, until_ns), cut; days from `days_until` on are not summed up yet."""
    hours = _within(since_ns, until_ns, HOUR_NS)
    if hours is None:
        return Spans((), (), _ranges((since_ns, until_ns)))
    rest = _ranges((since_ns, hours[0] * HOUR_NS), (hours[1] * HOUR_NS, until_ns))
    days = _within(hours[0], min(hours[1], days_until * 24), 24)
    if days is None:
        return Spans((), (hours,), rest)
    return Spans((days,), _ranges((hours[0], days[0] * 24), (days[1] * 24, hours[1])), rest)


def days_around(since_ns: int, until_ns: int) -> Range:
    """The UTC days that the period touches."""
    return since_ns // DAY_NS, -(-until_ns // DAY_NS)


def _within(since: int, until: int, size: int) -> Range | None:
    """The whole units of that size inside, None where there is none."""
    first, last = -(-since // size), until // size
    return (first, last) if first < last else None


def _ranges(*ranges: Range) -> tuple[Range, ...]:
    return tuple((since, until) for since, until in ranges if since < until)
