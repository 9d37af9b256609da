"""The benchmark of ailing deployments: every case and rule is played, and no call is lost that need not be."""

from bench.deployments import CASES, RULES, ailing_figures, prompt_figures


def test_every_ailment_is_played_under_every_rule_and_only_one_that_hangs_loses_calls() -> None:
    rows = ailing_figures(seconds=20)

    assert [(row["case"], row["rule"]) for row in rows] == [(case[0], rule[0]) for case in CASES for rule in RULES]
    assert all(row["answered, %"] == 100 for row in rows if row["case"] != "hangs")
    assert all(row["answered, %"] < 100 for row in rows if row["case"] == "hangs")


def test_prompts_are_found_again_more_often_where_they_have_an_affinity() -> None:
    rows = prompt_figures(seconds=60)

    shares = [row["found again, %"] for row in rows]
    assert shares[1] > shares[0]
    assert shares[3] > shares[2]
