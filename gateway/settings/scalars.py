"""Scalars: how the text of one setting becomes a value, and what a reader is told where it cannot."""

import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from farthing.tags import is_tag
from router_policies.patterns import BadPattern, searcher

FAULT: Final = "setting"
"""The pydantic error type of everything this package finds; its context holds `problem` and `at`."""

# Any scalar may also be a reference to the environment, which an editor cannot look into.
REFERENCE: Final = {"type": "string", "pattern": r"\$\{"}

_SECONDS: Final = {
    unit: Decimal(str(seconds))
    for unit, seconds in {"ms": "0.001", "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}.items()
}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d|w)", re.ASCII)
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%", re.ASCII)
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)
_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_SHORT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_MODEL: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,2}", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
# The gateway or HTTP itself decides these.
_OWNED_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"}
)


def fault(problem: str, *at: str | int, options: Callable[[], Iterable[str]] = tuple) -> PydanticCustomError:
    """An error for pydantic. `{given}` in the problem becomes the text of the file, `at` is a path below, and
    `options` are asked for a suggestion only when the finding is really shown."""
    return PydanticCustomError(FAULT, "{problem}", {"problem": problem, "at": at, "options": options})


@dataclass(frozen=True, eq=False)
class Scalar:
    """Marks an annotated type with its parser and its JSON Schema."""

    parse: Callable[[Any], Any]
    json: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return deepcopy(self.json)  # pydantic writes titles and defaults into it


def _or_reference(*kinds: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*kinds, REFERENCE]}


def choice(*options: str) -> Scalar:
    """One of these words."""

    def parse(value: Any) -> str:
        if isinstance(value, str) and value in options:
            return value
        raise fault(f"{{given}} is not possible here; write one of {', '.join(options)}", options=lambda: options)

    return Scalar(parse, _or_reference({"enum": list(options)}))


def _flag(value: Any) -> bool:
    if value is True or value == "true":
        return True
    if value is False or value == "false":
        return False
    raise fault("{given} is not a switch; write true or false")


def whole(least: int, most: int) -> Scalar:
    """An integer between two bounds, both allowed."""

    def parse(value: Any) -> int:
        number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise fault(f"{{given}} is not a whole number; write one from {least} to {most}")
        if not least <= number <= most:
            raise fault(f"{{given}} is out of range; write a whole number from {least} to {most}")
        return number

    return Scalar(parse, _or_reference({"type": "integer", "minimum": least, "maximum": most}))


def number(most: Decimal | int, *, places: int, above_zero: bool = False) -> Scalar:
    """An exact decimal from 0 to `most` with at most so many decimal places."""
    bounds = f"{'above 0' if above_zero else 'from 0'} up to {most}"

    def parse(value: Any) -> Decimal:
        text = str(value) if isinstance(value, (int, Decimal, str)) and not isinstance(value, bool) else ""
        # A plain 1.0e-3 is a Decimal already, whose text may be in scientific notation.
        exact = value if isinstance(value, Decimal) else Decimal(text) if _NUMBER.fullmatch(text) else None
        if exact is None or not exact.is_finite():
            raise fault(f"{{given}} is not a number; write a decimal number {bounds}")
        if not 0 <= exact <= most or (above_zero and exact == 0):
            raise fault(f"{{given}} is out of range; write a decimal number {bounds}")
        if exact != exact.quantize(Decimal(1).scaleb(-places)):
            raise fault(f"{{given}} has more than {places} decimal places; round it")
        return exact

    numeric = {"type": "number", "minimum": 0, "maximum": int(most)}
    return Scalar(parse, _or_reference(numeric, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}))


def _ratio(value: Any) -> float:
    exact: Decimal = _UNIT.parse(value)
    return float(exact)


_UNIT: Final = number(1, places=6, above_zero=True)


def percent(least: str, most: str) -> Scalar:
    """A share between two bounds, both allowed, written in per cent: 0.5% is 0.005."""

    def parse(value: Any) -> float:
        match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise fault(f"{{given}} is no share in per cent; write one from {least} to {most}, such as 0.5%")
        if not Decimal(least.rstrip("%")) <= (given := Decimal(match[1])) <= Decimal(most.rstrip("%")):
            raise fault(f"{{given}} is out of range; write a share from {least} to {most}")
        return float(given / 100)

    return Scalar(parse, _or_reference({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,4})?%$"}))


def duration(least: str, most: str, *, whole_seconds: bool = False, or_none: bool = False) -> Scalar:
    """Seconds, from text such as 250ms, 30s, 5m, 24h, 7d or 2w; with `or_none` 0 from the word none."""
    low, high = _seconds(least), _seconds(most)

    def parse(value: Any) -> float | int:
        if or_none and value == "none":
            return 0
        seconds = _seconds(value)
        if seconds is None:
            raise fault("{given} is not a duration; write a number with its unit, such as 30s, 5m, 24h or 7d")
        if low is not None and high is not None and not low <= seconds <= high:
            raise fault(f"{{given}} is out of range; write a duration from {least} to {most}")
        if whole_seconds and seconds % 1:
            raise fault("{given} is not a whole number of seconds; round it")
        return int(seconds) if whole_seconds else float(seconds)

    number_and_unit = r"[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)"
    pattern = f"^(none|{number_and_unit})$" if or_none else f"^{number_and_unit}$"
    return Scalar(parse, _or_reference({"type": "string", "pattern": pattern}))


def _seconds(value: Any) -> Decimal | None:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return Decimal(found[1]) * _SECONDS[found[2]] if found else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _no_text(value)
    if not value.strip():
        raise fault("the text is empty; write it, or delete the line")
    if len(value) > 4096 or not value.isprintable():
        raise fault("the text has control characters or is longer than 4096 characters; shorten or clean it")
    return value


def _no_text(value: Any) -> PydanticCustomError:
    """What to say of a value where text is wanted: quotes do not help a mapping."""
    if isinstance(value, (Mapping, list)):
        return fault("text is wanted here, such as a name that is declared elsewhere, not a mapping or a list")
    return fault("{given} is not text; put it in quotes")


def matching(accepts: Callable[[str], object], rule: str) -> Scalar:
    """Text that a rule accepts."""

    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise _no_text(value)
        if not accepts(value):
            raise fault(f"{{given}} cannot be used here; {rule}")
        return value

    return Scalar(parse, {"type": "string"})


def _pattern(value: Any) -> str:
    text = _text(value)
    try:
        searcher(text)
    except BadPattern as error:
        raise fault(f"{{given}} is not a pattern that can be used: {error}; RE2's syntax has no lookaround") from None
    return text


def _examples_file(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"file://[^:?#]+\.jsonl", text):
        raise fault("{given} is not a file of examples; write file://NAME.jsonl, seen from where this file lies")
    return text


def _url(value: Any) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise fault("{given} is not an address; write http://HOST:PORT/PATH or https://HOST/PATH") from None
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.hostname or "") or port == 0:
        raise fault("{given} is not an address; write http://HOST:PORT/PATH or https://HOST/PATH")
    if not text.isascii() or " " in text or "\\" in text:
        raise fault("{given} has characters that an address may not have; encode or delete them")
    if "@" in parts.netloc:
        raise fault("the address holds a name or password; give the key as api_key: ${NAME}")
    if "?" in text or "#" in text:
        raise fault("{given} holds a query or fragment; write the query under quirks: {query: ...}")
    return text.rstrip("/")


def _proxy(value: Any) -> str:
    text = _text(value)
    if text == "none":
        return ""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise fault(_PROXY_PROBLEM) from None
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.hostname or "") or port == 0:
        raise fault(_PROXY_PROBLEM)
    if not text.isascii() or " " in text or parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise fault(_PROXY_PROBLEM)
    return text


_PROXY_PROBLEM: Final = (
    "{given} is not the address of a proxy; write http://HOST:PORT (with name and password: "
    "http://NAME:${PASSWORD}@HOST:PORT, both percent-encoded), ${NAME} for all of it, or none"
)


def _database_url(value: Any) -> str:
    """postgresql://…, as libpq reads it; the driver says what else is wrong with it when it connects."""
    text = _text(value)
    if text == "none":
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise fault(_DATABASE_URL_PROBLEM) from None
    if not text.startswith(("postgresql://", "postgres://")) or len(parts.path) < 2 or " " in text:
        raise fault(_DATABASE_URL_PROBLEM)
    # Several servers may be named, HOST:PORT,HOST:PORT, of which the driver takes the first that it reaches. An @ more
    # is one of a password: what comes after it would be taken, and shown, for the name of a server.
    servers = parts.netloc.rpartition("@")[2]
    if text.count("@") > ("@" in parts.netloc) or not all(_SERVER.fullmatch(server) for server in servers.split(",")):
        raise fault(_DATABASE_URL_PROBLEM)
    return text


_SERVER: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@]*)"
    r"(:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])?)?"
)
"""A host and a port, both of which may be missing."""


_DATABASE_URL_PROBLEM: Final = (
    "{given} is not the address of a database; write postgresql://NAME:${PASSWORD}@HOST:PORT/DATABASE (name and "
    "password percent-encoded), ${NAME} for all of it, or none for SQLite in data_dir"
)


def _cache_url(value: Any) -> str:
    """redis://… or rediss://…; the client says what else is wrong with it."""
    text = _text(value)
    if text == "none":
        return ""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise fault(_CACHE_URL_PROBLEM) from None
    good = parts.scheme in {"redis", "rediss"} and _HOST.fullmatch(parts.hostname or "") and port != 0
    if not good or " " in text or not re.fullmatch(r"(/[0-9]{0,5})?", parts.path) or "?" in text or "#" in text:
        raise fault(_CACHE_URL_PROBLEM)
    return text


_CACHE_URL_PROBLEM: Final = (
    "{given} is not the address of a Redis or Valkey server; write redis://NAME:${PASSWORD}@HOST:PORT/0 (rediss:// "
    "with TLS), ${NAME} for all of it, or none for files in data_dir"
)


def _webhook(value: Any) -> str:
    """An address whose path or query may hold a secret."""
    text = _secret(value)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise fault(_WEBHOOK_PROBLEM) from None
    good = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "") and port != 0
    if text and (not good or "@" in parts.netloc or "#" in text):
        raise fault(_WEBHOOK_PROBLEM)
    return text


_WEBHOOK_PROBLEM: Final = "the variable holds no address; set it to https://HOST/PATH, without name and password"


def _secret(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise fault("the variable is empty; set it, or write none where no key is needed")
    if not value.isascii() or not value.isprintable() or " " in value or len(value) > 4096:
        raise fault("the variable holds spaces or other characters that no key has; check how it is set")
    return "" if value == "none" else value


def _header_value(value: Any) -> str:
    text = _text(value)
    if not text.isascii():
        raise fault("{given} cannot be the value of a header; use ASCII only")
    return text


def _is_header_name(name: str) -> bool:
    return _HEADER.fullmatch(name) is not None and name.lower() not in _OWNED_HEADERS


def _is_client_model(name: str) -> bool:
    return _MODEL.fullmatch(name) is not None and name != "auto" and not name.startswith("tier/")


def _zone(value: Any) -> str:
    if isinstance(value, str) and _ZONE.fullmatch(value):
        try:
            return zoneinfo.ZoneInfo(value).key
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    problem = "{given} is no time zone; write a name such as UTC or Europe/Berlin"
    raise fault(problem, options=zoneinfo.available_timezones)


def _day(value: Any) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) and len(value) == 10 else "")
    except ValueError:
        raise fault("{given} is not a date; write it as YYYY-MM-DD") from None


def day_ns(day: date) -> int:
    """Nanoseconds since 1970 of the first moment of a day in UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9


_TAG_RULE: Final = "write 1 to 128 letters, digits and . _ : / - (first a letter or digit)"
_NAME_RULE: Final = "write 1 to 64 letters, digits and . _ - (first a letter or digit)"

Flag = Annotated[bool, Scalar(_flag, _or_reference({"type": "boolean"}))]
Ratio = Annotated[float, Scalar(_ratio, _or_reference({"type": "number", "exclusiveMinimum": 0, "maximum": 1}))]
Share = Annotated[Decimal, _UNIT]
Usd = Annotated[Decimal, number(10**9, places=9)]
# Femto-dollars a token are exact to the ninth decimal of USD per million tokens; nano-dollars likewise.
Rate = Annotated[Decimal, number(10**6, places=9)]
Text = Annotated[str, Scalar(_text, {"type": "string"})]
Tag = Annotated[str, matching(is_tag, _TAG_RULE)]
Name = Annotated[str, matching(_SHORT_NAME.fullmatch, _NAME_RULE)]
Model = Annotated[str, matching(_MODEL.fullmatch, "write 1 to 200 printable ASCII characters without spaces")]
ClientModel = Annotated[
    str,
    matching(_is_client_model, "write 1 to 200 printable ASCII characters without spaces, not auto or tier/..."),
]
Url = Annotated[str, Scalar(_url, {"type": "string", "description": "http:// or https://, without a query"})]
Proxy = Annotated[str, Scalar(_proxy, {"type": "string"})]
CacheUrl = Annotated[str, Scalar(_cache_url, {"type": "string"})]
DatabaseUrl = Annotated[str, Scalar(_database_url, {"type": "string"})]
Secret = Annotated[
    str, Scalar(_secret, {"type": "string", "pattern": r"^(none|\$\{[A-Za-z_][A-Za-z0-9_]*(:-(none)?)?\})$"})
]
Webhook = Annotated[
    str, Scalar(_webhook, {"type": "string", "pattern": r"^(none|\$\{[A-Za-z_][A-Za-z0-9_]*(:-(none)?)?\})$"})
]
HeaderName = Annotated[str, matching(_is_header_name, "write the name of a header that is yours to set")]
HeaderValue = Annotated[str, Scalar(_header_value, {"type": "string"})]
KeyHash = Annotated[
    str, matching(_HASH.fullmatch, "write sha256: and 64 hexadecimal digits, as `farthing keys new` prints")
]
PromptHash = Annotated[
    str, matching(_HASH.fullmatch, "write sha256: and 64 hexadecimal digits, as `farthing tasks hash` prints")
]
Pattern = Annotated[str, Scalar(_pattern, {"type": "string"})]
ExamplesFile = Annotated[str, Scalar(_examples_file, {"type": "string", "pattern": r"^file://.+\.jsonl$"})]
Zone = Annotated[str, Scalar(_zone, {"type": "string"})]
Day = Annotated[date, Scalar(_day, {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"})]
