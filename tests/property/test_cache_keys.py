"""Laws of cache keys, over generated bodies."""

from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from cache.key import IGNORED, exact_key, semantic_scope
from cache.testing import example_call

SECRET = b"s" * 32
TAGS = st.text("abc./-", min_size=1, max_size=4)
NAMES = st.text("abcdeu_", min_size=1, max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=5)


def _key(body: dict[str, Any], tenant: str = "t", feature: str = "f", partition: str = "p") -> bytes:
    return exact_key(SECRET, example_call(body, raw=b"", tenant=tenant, feature=feature), partition)


def _reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reordered(member) for name, member in reversed(value.items())}
    return [_reordered(member) for member in value] if isinstance(value, list) else value


def _normal(value: Any) -> Any:
    """A second opinion on equality: types told apart, whole floats as integers."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return ("number", int(value) if float(value).is_integer() and abs(value) < 2**53 else value)
    if isinstance(value, list):
        return [_normal(member) for member in value]
    return {name: _normal(member) for name, member in value.items()}


@given(BODIES, TAGS, TAGS, TAGS, TAGS)
def test_two_tenants_or_features_never_share_a_key(body: Any, tenant: str, feature: str, other: str, more: str) -> None:
    assume((tenant, feature) != (other, more))

    assert _key(body, tenant, feature) != _key(body, other, more)


@given(BODIES)
def test_the_order_of_members_never_counts(body: dict[str, Any]) -> None:
    assert _key(_reordered(body)) == _key(body)


@given(BODIES, BODIES)
def test_keys_are_equal_exactly_when_the_bodies_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (_key(one) == _key(other)) == (_normal(one) == _normal(other))


@given(BODIES, st.sampled_from(sorted(IGNORED)), VALUES)
def test_the_ignored_members_never_count(body: dict[str, Any], name: str, value: Any) -> None:
    assert _key({**body, name: value}) == _key(body)


@given(BODIES, NAMES, VALUES)
def test_any_other_member_that_differs_changes_the_key(body: dict[str, Any], name: str, value: Any) -> None:
    assume(name not in IGNORED and (name not in body or _normal(body[name]) != _normal(value)))

    assert _key({**body, name: value}) != _key(body)


@given(st.text(), st.text(), TAGS, TAGS)
def test_a_scope_tells_tenants_apart_but_not_questions(text: str, other: str, tenant: str, stranger: str) -> None:
    assume(tenant != stranger)

    def scope(asked: str, who: str) -> bytes | None:
        body = {"model": "m", "messages": [{"role": "user", "content": asked}]}
        return semantic_scope(SECRET, example_call(body, raw=b"", tenant=who), "p", "v")

    assert scope(text, tenant) == scope(other, tenant)
    assert scope(text, tenant) != scope(text, stranger)
