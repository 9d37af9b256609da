"""Request: what the door read off the wire, before anybody judged it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from farthing.call import CacheControl, Endpoint
from farthing.errors import AuthenticationError, InvalidTag
from farthing.tags import is_tag
from farthing.value import Value, changed

RawHeaders = Sequence[tuple[bytes, bytes]]
NOT_ASKED = CacheControl()
"""Of a request that says nothing about caches; the very object."""


class Request(Value, frozen=True, kw_only=True):
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
    cache_control: CacheControl = NOT_ASKED


MAX_SECONDS = 2**31
"""The greatest number of seconds in Cache-Control (RFC 9111, 1.2.2)."""

_TAGS = {
    b"x-farthing-feature": "feature",
    b"x-farthing-task": "task",
    b"x-farthing-run": "run",
    b"x-farthing-environment": "environment",
}
_CACHE_TAGS = b"x-farthing-cache-tags"
MOST_CACHE_TAGS = 16
_FRAMING = frozenset({b"content-encoding", b"content-length"})
_READ = frozenset({b"authorization", b"x-api-key", b"cache-control", _CACHE_TAGS, *_TAGS})


class Head(NamedTuple):
    """What the headers say that mean anything to the gateway beside the framing. All others, such as X-Forwarded-For,
    are never looked at."""

    secret: bytes
    tags: dict[str, str]
    cache_control: CacheControl


def framing(headers: RawHeaders) -> RawHeaders:
    """The headers that tell how the body comes."""
    return [header for header in headers if header[0] in _FRAMING]


def relevant(headers: RawHeaders) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that a Head is read from."""
    return tuple([header for header in headers if header[0] in _READ])


@lru_cache(maxsize=256)  # a client sends the same ones each time
def read_head(headers: tuple[tuple[bytes, bytes], ...]) -> Head:
    """What they say; raises AuthenticationError or InvalidTag."""
    return Head(read_secret(headers), read_tags(headers), read_cache_control(headers))


def read_secret(headers: RawHeaders) -> bytes:
    """The key of `Authorization: Bearer` or `x-api-key`, byte for byte.

    Raises AuthenticationError where one is sent twice, the two differ, or the scheme is not `Bearer` exactly once.
    """
    bearer: bytes | None = None
    api_key: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() != b"bearer" or not key or b" " in key or bearer is not None:
                raise AuthenticationError
            bearer = key
        elif name == b"x-api-key":
            if api_key is not None:
                raise AuthenticationError
            api_key = value
    if bearer is not None and api_key is not None and bearer != api_key:
        raise AuthenticationError("Authorization and x-api-key carry different keys: send one of them.")
    return bearer or api_key or b""


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
    """The request's Cache-Control (RFC 9111, 5.2.1); several headers are one list, and of several values the strictest
    holds. Unknown directives are ignored, as HTTP asks; what cannot be read is taken in its strictest sense, for a
    caller can only tighten. With it go the tags of `x-farthing-cache-tags`; raises InvalidTag where one is none."""
    given = [value for name, value in headers if name == b"cache-control"]
    control = _parse_cache_control(b",".join(given).decode("latin-1").lower()) if given else NOT_ASKED
    tags = [value for name, value in headers if name == _CACHE_TAGS]
    return changed(control, tags=_cache_tags(b",".join(tags).decode("latin-1"))) if tags else control


def _cache_tags(text: str) -> tuple[str, ...]:
    tags = {part.strip() for part in text.split(",")} - {""}
    name = _CACHE_TAGS.decode()
    if len(tags) > MOST_CACHE_TAGS:
        raise InvalidTag(f"Header {name}: at most {MOST_CACHE_TAGS} tags, separated by commas.", param=name)
    if not all(map(is_tag, tags)):
        raise InvalidTag(f"Header {name}, separated by commas: {InvalidTag.__doc__}", param=name)
    return tuple(sorted(tags))


def _parse_cache_control(text: str) -> CacheControl:
    directives = [part.strip() for part in text.split(",")]
    ages = [_seconds(part) for part in directives if part.split("=", 1)[0] == "max-age"]
    fresh = [_seconds(part) for part in directives if part.split("=", 1)[0] == "min-fresh"]
    known_ages = [age for age in ages if age]
    return CacheControl(
        # An age of zero cannot be had from a cache, and an unreadable one might mean that.
        no_cache="no-cache" in directives or len(known_ages) < len(ages) or None in fresh,
        no_store="no-store" in directives,
        max_age_s=min(known_ages, default=None),
        min_fresh_s=max((seconds for seconds in fresh if seconds), default=0),
        only_if_cached="only-if-cached" in directives,
    )


def _seconds(directive: str) -> int | None:
    """The seconds in `name=seconds`, quoted or not; None where there are none. Beyond 2^31 all are the same."""
    text = directive.partition("=")[2].strip('"')
    if not (text.isascii() and text.isdigit()):
        return None
    return MAX_SECONDS if len(text) > 10 else min(int(text), MAX_SECONDS)
