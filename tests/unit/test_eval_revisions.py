"""Revisions: what counts as another model behind the same name."""

import pytest

from evals.revisions import Revision, read_revision, read_tested, revision_of


def test_a_revision_is_the_model_and_the_fingerprint_that_the_answer_names() -> None:
    found = revision_of({"model": "gpt-4o-2024-08-06", "system_fingerprint": "fp_1"})

    assert found == Revision("gpt-4o-2024-08-06", "fp_1")
    assert read_revision(found.text) == found
    assert revision_of({"model": None, "system_fingerprint": 7}) == Revision("", "")
    assert revision_of({"model": "a b\n" + "x" * 500}).served == "a_b_" + "x" * 116


@pytest.mark.parametrize(
    ("seen", "now", "change"),
    [
        (["m-1 fp_1"], Revision("m-1", "fp_1"), ""),
        (["m-1 fp_1"], Revision("m-2", "fp_1"), "model m-2 in place of m-1"),
        (["m-1 fp_1"], Revision("m-1", "fp_2"), "fingerprint fp_2 in place of fp_1"),
        (["m-1 fp_1", "m-1 fp_2"], Revision("m-1", "fp_3"), ""),
        (["m-1 fp_1", "m-1 fp_2"], Revision("m-2", "fp_3"), "model m-2 in place of m-1"),
        (["m-1 fp_1", "n-1 fp_2"], Revision("n-1", "fp_3"), "fingerprint fp_3 in place of fp_1 or fp_2"),
        (["m-1"], Revision("m-1", "fp_1"), ""),
        (["m-1 fp_1"], Revision("m-1", ""), ""),
        (["m-1 fp_1"], Revision("", ""), ""),
        ([], Revision("m-1", "fp_1"), ""),
    ],
)
def test_a_new_model_always_counts_and_a_new_fingerprint_where_they_were_stable(
    seen: list[str], now: Revision, change: str
) -> None:
    assert read_tested(seen).change(now) == change
