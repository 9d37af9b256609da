"""Which rule decides the task of a call."""

import pytest

from router_policies.tasks import resolve_task


@pytest.mark.parametrize(
    ("header", "metadata", "key_default", "feature_default", "resolved"),
    [
        ("h", "m", "k", "f", ("h", "header")),
        ("", "m", "k", "f", ("m", "metadata")),
        ("", "", "k", "f", ("k", "key")),
        ("", "", "", "f", ("f", "feature")),
        ("", "", "", "", ("", "default")),
    ],
)
def test_the_nearest_to_the_caller_decides_the_task(
    header: str, metadata: str, key_default: str, feature_default: str, resolved: tuple[str, str]
) -> None:
    task = resolve_task(header=header, metadata=metadata, key_default=key_default, feature_default=feature_default)

    assert task == resolved
