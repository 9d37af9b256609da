import pytest

from farthing.catalog import Provider, Quirks
from farthing.errors import ConfigError
from gateway.upstreams.wire import Origin, Wire


def wire(base_url: str = "https://api.example", **fields: object) -> Wire:
    return Wire(Provider(name="acme", adapter="openai", base_url=base_url, **fields), "farthing/1")  # type: ignore[arg-type]


def parsed(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines)
    return line, headers, body


def test_the_request_carries_the_key_the_body_and_nothing_of_anybody_else() -> None:
    request = wire("http://api.example:8080/v1/", api_key="sk-1").request("chat/completions", b'{"a":1}')

    assert parsed(request) == (
        "POST /v1/chat/completions HTTP/1.1",
        {
            "host": "api.example:8080",
            "accept": "*/*",
            "content-type": "application/json",
            "user-agent": "farthing/1",
            "authorization": "Bearer sk-1",
            "accept-encoding": "identity",
            "content-length": "7",
        },
        b'{"a":1}',
    )


def test_quirks_place_the_key_the_prefix_and_the_query() -> None:
    quirks = Quirks(path_prefix="/openai", query="api-version=1", key_header="Api-Key", key_scheme="")

    line, headers, _ = parsed(wire(api_key="k", quirks=quirks).request("embeddings", b""))

    assert line == "POST /openai/embeddings?api-version=1 HTTP/1.1"
    assert headers["api-key"] == "k"
    assert "authorization" not in headers


def test_headers_of_the_provider_are_sent_and_win() -> None:
    extra = (("X-Title", "app"), ("User-Agent", "mine"), ("Accept-Encoding", "gzip"), ("Host", "other"))

    headers = parsed(wire(headers=extra).request("embeddings", b""))[1]

    assert (headers["x-title"], headers["user-agent"], headers["host"]) == ("app", "mine", "other")
    assert headers["accept-encoding"] == "identity"


def test_each_operation_and_each_body_has_its_own_request() -> None:
    made = wire()

    one, two, three = made.request("a", b"1"), made.request("b", b"22"), made.request("a", b"")

    assert [parsed(request)[0] for request in (one, two, three)] == [f"POST /{name} HTTP/1.1" for name in "aba"]
    assert [parsed(request)[1]["content-length"] for request in (one, two, three)] == ["1", "2", "0"]


@pytest.mark.parametrize(
    ("base_url", "origin", "host"),
    [
        ("https://api.example/v1", Origin(True, "api.example", 443), "api.example"),
        ("http://API.example", Origin(False, "api.example", 80), "api.example"),
        ("https://api.example:8443", Origin(True, "api.example", 8443), "api.example:8443"),
        ("http://[::1]:9/v1", Origin(False, "::1", 9), "[::1]:9"),
        ("https://münchen.example", Origin(True, "xn--mnchen-3ya.example", 443), "xn--mnchen-3ya.example"),
    ],
)
def test_the_base_url_names_the_origin_and_the_host(base_url: str, origin: Origin, host: str) -> None:
    made = wire(base_url)

    assert made.origin == origin
    assert parsed(made.request("x", b""))[1]["host"] == host


def test_a_path_with_odd_letters_stays_one_line() -> None:
    line = parsed(wire("http://h/a b/ü\N{LINE SEPARATOR}").request("x", b""))[0]

    assert line == "POST /a%20b/%C3%BC%E2%80%A8/x HTTP/1.1"


@pytest.mark.parametrize(
    "base_url",
    ["", "acme.example", "ftp://h/", "https://", "http://h:99999", "http://h:x", "http://h/?a=1", "http://h/#x",
     "http://user:secret@h/", "http://h h/", "http://[::1", "http://" + "x" * 70 + ".example"],
)  # fmt: skip
def test_a_base_url_that_is_none_is_a_configuration_error_that_does_not_quote_it(base_url: str) -> None:
    with pytest.raises(ConfigError, match="`base_url` of provider 'acme'") as caught:
        wire(base_url)

    assert "secret" not in caught.value.message


@pytest.mark.parametrize("value", ["secret\nkey", "secret\rkey", "secret\0", "secret\N{EURO SIGN}", "secret\x7f"])
def test_a_key_that_no_header_can_carry_is_a_configuration_error_that_does_not_quote_it(value: str) -> None:
    with pytest.raises(ConfigError, match="'authorization' of provider 'acme'") as caught:
        wire(api_key=value)

    assert "secret" not in caught.value.message


@pytest.mark.parametrize("name", ["bad name", "", "x:y", "Content-Length", "transfer-encoding", "Connection", "TE"])
def test_a_header_that_would_change_the_framing_or_is_none_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be sent"):
        wire(headers=((name, "1"),))
