"""Cache-Control of a request: read as RFC 9111 writes it, and in doubt in its strictest sense."""

import pytest

from farthing.call import CacheControl
from gateway.request import MAX_SECONDS, read_cache_control


def control(*values: bytes) -> CacheControl:
    return read_cache_control([(b"host", b"h"), *((b"cache-control", value) for value in values)])


def test_a_request_without_the_header_asks_for_nothing() -> None:
    assert control() == CacheControl()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"no-cache", CacheControl(no_cache=True)),
        (b"No-Store", CacheControl(no_store=True)),
        (b"max-age=60", CacheControl(max_age_s=60)),
        (b'max-age="60"', CacheControl(max_age_s=60)),
        (b"min-fresh=5", CacheControl(min_fresh_s=5)),
        (b"only-if-cached", CacheControl(only_if_cached=True)),
        (b" max-age=60 ,  only-if-cached,", CacheControl(max_age_s=60, only_if_cached=True)),
    ],
)
def test_each_directive_says_one_thing(value: bytes, expected: CacheControl) -> None:
    assert control(value) == expected


@pytest.mark.parametrize("value", [b"max-stale", b"max-stale=60", b"no-transform", b"stale-if-error=5", b"\xff", b"="])
def test_what_is_unknown_or_would_loosen_is_ignored(value: bytes) -> None:
    assert control(value) == CacheControl()


@pytest.mark.parametrize(
    "value", [b"max-age", b"max-age=", b"max-age=-1", b"max-age=1.5", b"max-age=x", b"max-age=\xb2"]
)
def test_an_age_that_cannot_be_read_asks_for_a_fresh_answer(value: bytes) -> None:
    assert control(value).no_cache
    assert control(b"max-age=60", value) == CacheControl(no_cache=True, max_age_s=60)


def test_an_age_of_zero_asks_for_a_fresh_answer() -> None:
    assert control(b"max-age=0") == CacheControl(no_cache=True)


@pytest.mark.parametrize("digits", [b"2147483649", b"9" * 60_000])
def test_a_number_beyond_all_bounds_is_the_greatest(digits: bytes) -> None:
    assert control(b"max-age=" + digits).max_age_s == MAX_SECONDS
    assert control(b"min-fresh=" + digits).min_fresh_s == MAX_SECONDS


def test_several_headers_are_one_list_and_the_strictest_value_holds() -> None:
    assert control(b"max-age=60", b"no-store, max-age=5", b"min-fresh=1, min-fresh=9") == CacheControl(
        no_store=True, max_age_s=5, min_fresh_s=9
    )
