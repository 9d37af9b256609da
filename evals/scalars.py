"""Scalars: single values of a suite, each with its finding where it cannot be used."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from evals.located import Findings, Located
from evals.suite import DAY_S
from farthing.tags import is_tag

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}


def read_mapping(at: Located, names: Collection[str], findings: Findings) -> Mapping[str, Located]:
    """The mapping, with a finding for every name that is not among `names`."""
    if not isinstance(at.value, Mapping):
        findings.add(at, f"a mapping is wanted here, with {', '.join(sorted(names))}")
        return {}
    for name, child in at.value.items():
        if name not in names:
            findings.unknown(child, name, names, "key")
    return at.value


def read_name(at: Located, what: str, findings: Findings) -> str:
    """A name as a tag may look."""
    if not isinstance(at.value, str) or not is_tag(at.value):
        findings.add(at, f"{what} is a name of letters, digits and . _ : / -")
        return ""
    return at.value


def read_share(at: Located, findings: Findings, *, above_zero: bool = False, most: float = 1) -> float:
    """A number from 0 to 1, or to `most`."""
    value = read_number(at, findings, most=most)
    if above_zero and value == 0:
        findings.add(at, "a number above 0 is wanted here")
    return value


def read_number(at: Located, findings: Findings, *, most: float) -> float:
    """A number from 0 to `most`."""
    value = at.value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
        findings.add(at, f"a number from 0 to {most:g} is wanted here")
        return most
    return float(value)


def read_count(at: Located, findings: Findings, *, most: int | None = None) -> int:
    """A whole number of at least 1, and at most so many."""
    value = at.value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (most is not None and value > most):
        bound = "" if most is None else f" and at most {most}"
        findings.add(at, f"a whole number of at least 1{bound} is wanted here")
        return 1
    return value


def read_decimal(at: Located, findings: Findings) -> Decimal:
    """An exact number of 0 or more, in a unit that its field knows."""
    try:
        amount = Decimal(str(at.value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        findings.add(at, "a number of 0 or more is wanted here")
        return Decimal(0)
    return amount


def read_seconds(at: Located, findings: Findings) -> int:
    """Seconds of a duration such as 30m, 12h or 14d."""
    found = re.fullmatch(r"([1-9]\d{0,4})([smhdw])", str(at.value))
    if found is None:
        findings.add(at, "a duration is wanted here, such as 12h or 14d")
        return 0
    return int(found[1]) * _SECONDS[found[2]]
