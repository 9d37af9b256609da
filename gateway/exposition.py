"""Exposition: Prometheus' text format 0.0.4, written straight from integers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Final

from farthing.money import NANO_PER_USD

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]
"""Names and values in the order in which they are written."""


class Kind(StrEnum):
    """What a family measures; the value is the word after `# TYPE`."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Unit(StrEnum):
    """What the integers of a family are, and so how they are written; the value is for people."""

    ONE = "1"
    USD = "USD"
    """Integers are nano-dollars."""
    SECONDS = "s"
    """Integers are microseconds."""
    RATIO = "ratio"
    """Integers are millionths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: its name, what it is, and `labels`, the names every sample carries."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: Unit = Unit.ONE


def decimal_text(value: int, unit: Unit) -> str:
    """The exact decimal of an integer in the unit's base (`1` itself, nano-dollars, microseconds)."""
    if unit is Unit.ONE:
        return str(value)
    base, places = (NANO_PER_USD, 9) if unit is Unit.USD else (10**6, 6)
    whole, part = divmod(abs(value), base)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{places}d}"


def escape(value: str) -> str:
    """A label value as the format wants it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """`name="value",…` without braces."""
    return ",".join([f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True)])


def head(family: Family) -> list[str]:
    """The two lines that open a family."""
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    return [f"# HELP {family.name} {text}", f"# TYPE {family.name} {family.kind}"]


def value_lines(family: Family, samples: Iterable[tuple[Sequence[str], int]]) -> list[str]:
    """A counter or gauge: one line for each (label values, integer in the unit's base)."""
    lines = head(family)
    for values, number in samples:
        labels = f"{{{label_text(family.labels, values)}}}" if values else ""
        lines.append(f"{family.name}{labels} {decimal_text(number, family.unit)}")
    return lines


def histogram_lines(
    family: Family, bounds: Sequence[int], samples: Iterable[tuple[Sequence[str], Sequence[int]]]
) -> list[str]:
    """A histogram; each sample is (label values, slots): the sum, a count for each bound, the overflow's
    count.

    `bounds` and the sum are in the unit's base; a bound is inclusive.
    """
    lines = head(family)
    edges = [*(decimal_text(bound, family.unit).rstrip("0").rstrip(".") for bound in bounds), "+Inf"]
    name = family.name
    for values, slots in samples:
        labels = label_text(family.labels, values)
        count = 0
        for edge, count in zip(edges, accumulate(slots[1:]), strict=True):
            lines.append(f'{name}_bucket{{{labels},le="{edge}"}} {count}')
        lines.append(f"{name}_sum{{{labels}}} {decimal_text(slots[0], family.unit)}")
        lines.append(f"{name}_count{{{labels}}} {count}")
    return lines
