"""Bodies of the admin API: one small JSON object with known members, read and judged."""

from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from starlette.requests import Request

from farthing.errors import BodyTooLarge, InvalidParameter, InvalidTag, UnsupportedEncoding
from farthing.money import Nano, nano_from_usd
from farthing.tags import is_tag
from gateway.jsonbody import parse_object

Members = Mapping[str, Any]

MOST_BYTES: Final = 16_384
MOST_USD: Final = 10**9
_LONGEST_TEXT: Final = 500


async def read_members(request: Request, known: Collection[str], most: int = MOST_BYTES) -> Members:
    """The object in the body, of at most so many bytes. Raises RequestError; a member that is not known is refused, not
    passed over."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > most:
            raise BodyTooLarge(f"The body is larger than {most} bytes.")
    members = parse_object(raw)
    for name in members:
        if name not in known:
            raise InvalidParameter(f"There is no member of that name here, only {', '.join(known)}.", param=name[:80])
    return members


def usd(members: Members, name: str, *, above_zero: bool) -> Nano:
    """An amount of USD, as a decimal text or a number. Raises InvalidParameter."""
    value = members.get(name)
    rule = f"`{name}` must be USD {'above' if above_zero else 'from'} 0 up to {MOST_USD}, with at most nine decimals."
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidParameter(rule, param=name)
    try:
        # The shortest text of a float is what was written.
        exact = Decimal(str(value)[:40])
        amount = nano_from_usd(exact) if 0 <= exact <= MOST_USD else None
    except (InvalidOperation, ArithmeticError):
        amount = None
    if amount is None or Decimal(amount).scaleb(-9) != exact or (above_zero and not amount):
        raise InvalidParameter(rule, param=name)
    return amount


def text(members: Members, name: str, *, required: bool = False) -> str:
    """A line of text, empty where it is not given. Raises InvalidParameter."""
    value = members.get(name, "")
    good = type(value) is str and len(value) <= _LONGEST_TEXT and (value.isprintable() or not value)
    if not good or (required and not value.strip()):
        kind = "a line of text that is not empty" if required else "a line of text"
        raise InvalidParameter(f"`{name}` must be {kind}, of at most {_LONGEST_TEXT} characters.", param=name)
    return str(value)


def tag(members: Members, name: str, *, required: bool = False) -> str:
    """A tag, empty where it is not given. Raises InvalidTag."""
    value = members.get(name, "")
    if type(value) is not str or not (is_tag(value) or (not value and not required)):
        raise InvalidTag(f"{name}: {InvalidTag.__doc__}", param=name)
    return value
