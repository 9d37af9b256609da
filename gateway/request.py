"""Request: what the door read off the wire, before anybody judged it."""

from collections.abc import Iterable
from dataclasses import dataclass

from farthing.call import CacheControl, Endpoint
from farthing.errors import AuthenticationError, InvalidTag
from farthing.tags import is_tag

RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to a hot route. `secret` is the key as sent, or empty. Tag texts are empty where not sent."""

    id: str
    endpoint: Endpoint
    body: bytes
    received_ns: int
    started: float
    secret: bytes = b""
    feature: str = ""
    task: str = ""
    run: str = ""
    environment: str = ""
    cache_control: CacheControl = CacheControl()


_NOT_ASKED = CacheControl()
_TAGS = {
    b"x-farthing-feature": "feature",
    b"x-farthing-task": "task",
    b"x-farthing-run": "run",
    b"x-farthing-environment": "environment",
}


def read_secret(headers: RawHeaders) -> bytes:
    """The key of `Authorization: Bearer` or `x-api-key`.

    Raises AuthenticationError where one is sent twice, the two differ, or the scheme is not `Bearer` exactly once.
    """
    found: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() != b"bearer" or not key or b" " in key:
                raise AuthenticationError
            found.append(key)
        elif name == b"x-api-key":
            found.append(value)
    if any(key != found[0] for key in found[1:]):
        raise AuthenticationError("Authorization and x-api-key carry different keys: send one of them.")
    return found[0] if found else b""


def read_tags(headers: RawHeaders) -> dict[str, str]:
    """The `x-farthing-*` tags by field name; raises InvalidTag for anything but a plain tag."""
    tags: dict[str, str] = {}
    for name, value in headers:
        field = _TAGS.get(name)
        if field is None:
            continue
        text = value.decode("latin-1")
        if not is_tag(text) or field in tags:
            raise InvalidTag(f"Header {name.decode()}: {InvalidTag.__doc__}", param=name.decode())
        tags[field] = text
    return tags


def read_cache_control(headers: RawHeaders) -> CacheControl:
    """The request's Cache-Control; unknown directives are ignored, as HTTP asks."""
    for name, value in headers:
        if name == b"cache-control":
            return _parse_cache_control(value.decode("latin-1").lower())
    return _NOT_ASKED


def _parse_cache_control(text: str) -> CacheControl:
    directives = {part.strip() for part in text.split(",")}
    age = next((part[8:] for part in directives if part.startswith("max-age=")), "")
    return CacheControl(
        no_cache="no-cache" in directives,
        no_store="no-store" in directives,
        max_age_s=int(age) if age.isascii() and age.isdigit() and len(age) < 12 else None,
    )
