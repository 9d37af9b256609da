"""What is the same in every request to one provider: where it goes, and its head but for the length of the body."""

import re
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from farthing.catalog import Provider
from farthing.errors import ConfigError

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_HOST: Final = re.compile(r"[0-9A-Za-z._~-]+|[0-9A-Fa-f:.]+")
_IN_PATH: Final = "/%:@!$&'()*+,;=~"
_FRAMING: Final = frozenset(
    ("connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Headers that say how a message is cut out of its connection: those are written here and nowhere else."""


class Origin(NamedTuple):
    """The other end of a connection."""

    tls: bool
    host: str
    port: int


class Wire:
    """The requests to one provider. Raises ConfigError where its `base_url` or a header of it cannot be sent."""

    __slots__ = ("_authority", "_base", "_heads", "_lines", "_query", "origin", "provider")

    def __init__(self, provider: Provider, agent: str) -> None:
        self.provider = provider
        self.origin, self._authority, path = _located(provider)
        prefix = provider.quirks.path_prefix.strip("/")
        self._base = path.rstrip("/") + (f"/{prefix}/" if prefix else "/")
        self._query = f"?{provider.quirks.query.lstrip('?')}" if provider.quirks.query else ""
        self._lines = _header_lines(provider, agent, self._authority)
        self._heads: dict[str, bytes] = {}

    def request(self, operation: str, body: bytes) -> bytes:
        """The bytes of a POST to `operation`, a path below the base URL."""
        head = self._heads.get(operation)
        if head is None:
            head = self._heads[operation] = self._head(operation)
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    def _head(self, operation: str) -> bytes:
        target = quote(self._base + operation, safe=_IN_PATH) + quote(self._query, safe=_IN_PATH + "?")
        return f"POST {target} HTTP/1.1\r\n{self._lines}content-length: ".encode("ascii")


def _located(provider: Provider) -> tuple[Origin, str, str]:
    """Origin, Host header and path of the base URL."""
    try:
        url = urlsplit(provider.base_url)
        host = (url.hostname or "").encode("idna").decode("ascii")
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except (ValueError, KeyError):
        host, port = "", 0
    if not _HOST.fullmatch(host) or url.query or url.fragment or url.username is not None:
        raise ConfigError(
            f"The `base_url` of provider '{provider.name}' is not a URL: write it as https://host/path."
        ) from None
    name = f"[{host}]" if ":" in host else host
    return Origin(url.scheme == "https", host, port), f"{name}:{url.port}" if url.port else name, url.path


def _header_lines(provider: Provider, agent: str, authority: str) -> str:
    quirks = provider.quirks
    headers = {"host": authority, "accept": "*/*", "content-type": "application/json", "user-agent": agent}
    if provider.api_key:
        headers[quirks.key_header.lower()] = quirks.key_scheme + provider.api_key
    headers |= {name.lower(): value for name, value in provider.headers}
    headers["accept-encoding"] = "identity"  # the bytes are relayed as they come
    for name, value in headers.items():
        if name in _FRAMING or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigError(
                f"The header '{name}' of provider '{provider.name}' cannot be sent: it is the gateway's own to write, "
                "or its name or its value (where it carries the key, the key) holds a character that HTTP forbids, "
                "such as a line break."
            )
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
