"""Usage events: the CloudEvents in which tools outside of the gateway report what they spent, read and judged.

Form: CloudEvents 1.0 in JSON (https://github.com/cloudevents/spec), structured mode, one event or a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from farthing.errors import InvalidJSON, InvalidParameter, InvalidTag
from farthing.money import Nano, nano_from_usd
from farthing.tags import is_tag
from farthing.usage import TOKEN_CLASSES, Usage
from gateway.jsonbody import parse_object
from gateway.periods import wall_ns
from ledger.price import PIECE_EXTRAS, TOKEN_EXTRAS

EVENT_TYPE: Final = "dev.farthing.usage.v1"
SINGLE: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = "application/json"
MOST_EVENTS: Final = 1_000
MOST_TOKENS: Final = 10**12
MOST_PIECES: Final = 10**9
MOST_USD: Final = 1_000_000
MOST_SECONDS: Final = 10_000_000
EARLIEST_NS: Final = 1_577_836_800 * 10**9
"""2020-01-01: before it there was nothing to book, so an earlier time is a mistake of units."""
LATEST_AHEAD_NS: Final = 3600 * 10**9
"""Clocks differ; an hour ahead is still a clock, more is a charge hidden in a budget yet to come."""
_LONGEST_NAME: Final = 256
_TAGS: Final = ("feature", "task", "run", "environment", "team")
_MEMBERS: Final = frozenset(
    {*_TAGS, "provider", "model", "usage", "extras", "seconds", "service_tier", "cost_usd", "currency"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One event. `at` is where it stands in what was sent (empty, or `[3].`), for errors. Tags are empty where not
    given; `extras` are counts beside the token classes, as in `ledger.statement.Portion`; `cost` is what the tool
    states to have paid, None where the price book decides. `time_ns` wall ns."""

    at: str
    id: str
    source: str
    time_ns: int
    feature: str
    task: str
    run: str
    environment: str
    team: str
    provider: str
    model: str
    usage: Usage
    extras: tuple[tuple[str, int], ...] = ()
    seconds: float
    service_tier: str
    cost: Nano | None


def read_events(raw: bytes, content_type: str, now_ns: int) -> tuple[list[UsageEvent], bool]:
    """The events of a body, and whether it is a batch. One bad event refuses them all, so that nothing is booked by
    half. Raises InvalidJSON, InvalidParameter or InvalidTag, naming the member at fault."""
    batch = _is_batch(raw, content_type)
    if not batch:
        return [_event(parse_object(raw), "", now_ns)], False
    members = _parse_array(raw)
    if len(members) > MOST_EVENTS:
        raise InvalidParameter(f"A batch holds at most {MOST_EVENTS} events, not {len(members)}: send several.")
    return [_event(member, f"[{index}].", now_ns) for index, member in enumerate(members)], True


def _is_batch(raw: bytes, content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (SINGLE, BATCH):
        return kind == BATCH
    if kind in (PLAIN, ""):
        return raw.lstrip(b" \t\r\n").startswith(b"[")
    raise InvalidParameter(f"Send {SINGLE}, {BATCH} or {PLAIN}.", param="content-type")


def _parse_array(raw: bytes) -> list[Any]:
    """The array, as strictly as any other body: as the one member of an object."""
    try:
        members = parse_object(b'{"events":' + raw + b"}")
    except InvalidJSON as error:
        raise InvalidJSON(f"A batch is one JSON array of events. {InvalidJSON.__doc__}") from error
    events = members["events"]
    if len(members) != 1 or type(events) is not list:
        raise InvalidJSON("A batch is one JSON array of events.")
    return events


def _event(member: Any, at: str, now_ns: int) -> UsageEvent:
    if type(member) is not dict:
        raise InvalidParameter("An event is a JSON object.", param=at.rstrip(".") or None)
    _require(member, "specversion", "1.0", at)
    _require(member, "type", EVENT_TYPE, at)
    if "data_base64" in member:
        raise InvalidParameter("Send the data as the JSON object `data`.", param=f"{at}data_base64")
    data = member.get("data")
    if type(data) is not dict:
        raise InvalidParameter("`data` must be an object with at least `feature`.", param=f"{at}data")
    id_, source, time_ns = _text(member, "id", at), _text(member, "source", at), _time(member, at, now_ns)
    return _with_data(data, at, {"id": id_, "source": source, "time_ns": time_ns})


def _with_data(data: Mapping[str, Any], at: str, facts: dict[str, Any]) -> UsageEvent:
    inside = f"{at}data."
    for name in data:
        if name not in _MEMBERS:
            known = ", ".join(sorted(_MEMBERS))
            raise InvalidParameter(f"`data` has a member that is not known; known: {known}.", param=_path(inside, name))
    if data.get("currency", "USD") != "USD":
        raise InvalidParameter(
            "Only USD is booked: convert the amount at the rate of your own books.", param=f"{inside}currency"
        )
    if data.keys().isdisjoint(("usage", "extras", "cost_usd")):
        raise InvalidParameter("`data` needs `usage` (tokens by class), `extras` or `cost_usd`.", param=f"{at}data")
    tags: dict[str, Any] = {name: _tag(data, name, inside) for name in _TAGS}
    if not tags["feature"]:
        raise InvalidParameter("`data.feature` must name the feature that pays.", param=f"{inside}feature")
    usage = _usage(data, inside)
    return UsageEvent(
        at=at,
        **facts,
        **tags,
        provider=_name(data, "provider", inside),
        model=_name(data, "model", inside),
        usage=usage,
        extras=_extras(data, usage, inside),
        seconds=_seconds(data, inside),
        service_tier=_name(data, "service_tier", inside),
        cost=_cost(data, inside) if "cost_usd" in data else None,
    )


def _path(inside: str, name: str) -> str:
    """The path of a member that somebody named freely."""
    return inside + ascii(name[:80])[1:-1]


def _require(member: Mapping[str, Any], name: str, value: str, at: str) -> None:
    if member.get(name) != value:
        raise InvalidParameter(f"`{name}` must be `{value}`.", param=f"{at}{name}")


def _text(member: Mapping[str, Any], name: str, at: str) -> str:
    value = member.get(name)
    if type(value) is not str or not 0 < len(value) <= _LONGEST_NAME or not value.isprintable():
        raise InvalidParameter(
            f"`{name}` must be a text of 1 to {_LONGEST_NAME} printable characters.", param=f"{at}{name}"
        )
    return value


def _time(member: Mapping[str, Any], at: str, now_ns: int) -> int:
    value = member.get("time")
    try:
        moment = datetime.fromisoformat(value if type(value) is str else "")
        if moment.tzinfo is None:
            raise ValueError
        time_ns = wall_ns(moment)
    except (ValueError, OverflowError):
        raise InvalidParameter(
            "`time` must be an RFC 3339 time with its offset, such as 2026-11-24T08:00:00Z.", param=f"{at}time"
        ) from None
    if not EARLIEST_NS <= time_ns <= now_ns + LATEST_AHEAD_NS:
        raise InvalidParameter(
            "`time` must lie between 2020 and an hour from now: it decides price, day and budget.", param=f"{at}time"
        )
    return time_ns


def _tag(data: Mapping[str, Any], name: str, inside: str) -> str:
    value = data.get(name, "")
    if type(value) is not str or (value and not is_tag(value)):
        raise InvalidTag(param=inside + name)
    return value


def _name(data: Mapping[str, Any], name: str, inside: str) -> str:
    return _text(data, name, inside) if name in data else ""


def _usage(data: Mapping[str, Any], inside: str) -> Usage:
    given = data.get("usage", {})
    if type(given) is not dict:
        raise InvalidParameter(f"`usage` must be an object of {', '.join(TOKEN_CLASSES)}.", param=f"{inside}usage")
    for name, tokens in given.items():
        if name not in TOKEN_CLASSES:
            known = ", ".join(TOKEN_CLASSES)
            raise InvalidParameter(f"No such token class; known: {known}.", param=_path(f"{inside}usage.", name))
        if type(tokens) is not int or not 0 <= tokens <= MOST_TOKENS:
            raise InvalidParameter(f"Tokens are a whole number from 0 to {MOST_TOKENS}.", param=f"{inside}usage.{name}")
    return Usage(**given)


def _extras(data: Mapping[str, Any], usage: Usage, inside: str) -> tuple[tuple[str, int], ...]:
    """Counts above zero by name. Tokens that are in a class already are no more than it holds."""
    given = data.get("extras", {})
    known = ", ".join((*TOKEN_EXTRAS, *PIECE_EXTRAS))
    if type(given) is not dict:
        raise InvalidParameter(f"`extras` must be an object of {known}.", param=f"{inside}extras")
    within: dict[str, int] = {}
    for name, count in given.items():
        if name not in TOKEN_EXTRAS and name not in PIECE_EXTRAS:
            raise InvalidParameter(f"No such extra; known: {known}.", param=_path(f"{inside}extras.", name))
        most = MOST_PIECES if name in PIECE_EXTRAS else MOST_TOKENS
        if type(count) is not int or not 0 <= count <= most:
            raise InvalidParameter(f"A count is a whole number from 0 to {most}.", param=f"{inside}extras.{name}")
        if counted_as := TOKEN_EXTRAS.get(name, ("", ""))[1]:
            within[counted_as] = within.get(counted_as, 0) + count
            if within[counted_as] > getattr(usage, counted_as):
                raise InvalidParameter(
                    f"These tokens are among those of `usage.{counted_as}`, which holds fewer: count them there too.",
                    param=f"{inside}extras.{name}",
                )
    return tuple((name, count) for name, count in given.items() if count)


def _seconds(data: Mapping[str, Any], inside: str) -> float:
    value = data.get("seconds", 0)
    if type(value) not in (int, float) or not 0 <= value <= MOST_SECONDS:
        raise InvalidParameter(f"`seconds` must be a number from 0 to {MOST_SECONDS}.", param=f"{inside}seconds")
    return float(value)


def _cost(data: Mapping[str, Any], inside: str) -> Nano:
    """A JSON number is taken as it is written: its shortest decimal, never its binary value."""
    value = data["cost_usd"]
    try:
        usd = Decimal(value if type(value) is str else repr(value) if type(value) in (int, float) else "")
        if not 0 <= usd <= MOST_USD:
            raise InvalidOperation
        return nano_from_usd(usd)
    except InvalidOperation:
        raise InvalidParameter(
            f'`cost_usd` must be an amount from 0 to {MOST_USD}, best as a text such as "0.0125".',
            param=f"{inside}cost_usd",
        ) from None
