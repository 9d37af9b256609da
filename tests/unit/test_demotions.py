"""What an alarm leads to, and what live answers are held to."""

from dataclasses import replace
from decimal import Decimal

import pytest

from farthing.catalog import Task
from farthing.money import Nano
from farthing.routing import Scorecard, Verdict
from gateway.demotions import demotion_of, message
from gateway.livegrading import GRADES, REVISION, Alarm, agreement_floor

TASK = Task(name="triage", bar=Decimal("0.8"), reference="large", candidates=("small",))
CARD = Scorecard(
    task="triage",
    tier="small",
    verdict=Verdict.PASS,
    score=0.9,
    bar=0.8,
    items=100,
    suite="s",
    suite_hash="h",
    models=("p/m",),
    run_id="r",
    decided_ns=5,
)
ALARM = Alarm(task=TASK, tier="small", signal=GRADES, detail="worse", card=CARD, evidence=1234.5, bound=0.75, graded=40)
DAY_NS = 86_400 * 10**9


def test_a_tier_that_drifted_stays_out_for_a_day() -> None:
    demotion = demotion_of(ALARM, 7)

    assert demotion is not None
    assert (demotion.at_ns, demotion.until_ns, demotion.cause) == (7, 7 + DAY_NS, "drift")
    assert (demotion.detail, demotion.suite_hash, demotion.models) == ("worse", "h", ("p/m",))


def test_a_tier_that_is_another_model_may_pass_again_at_once() -> None:
    demotion = demotion_of(replace(ALARM, signal=REVISION), 7)

    assert demotion is not None
    assert (demotion.until_ns, demotion.cause) == (7, "fingerprint")


def test_a_tier_without_a_pass_may_lose_its_place_in_a_cascade() -> None:
    demotion = demotion_of(replace(ALARM, card=None), 7)

    assert demotion is not None
    assert (demotion.suite_hash, demotion.models) == ("", ())
    assert message(replace(ALARM, card=None), demotion, 7)["todo"].startswith("small had not passed triage")


def test_of_the_reference_an_alarm_is_only_told() -> None:
    alarm = replace(ALARM, tier="large")

    told = message(alarm, demotion_of(alarm, 7), 7)

    assert (told["event"], told["out_until"], told["saved_usd_last_24h"]) == ("tier_alarm", None, None)


def test_amounts_of_an_alert_are_exact() -> None:
    told = message(ALARM, demotion_of(ALARM, 7), 7, saved=1_234_567_891, calls=12)

    assert (told["event"], told["saved_usd_last_24h"], told["calls_last_24h"]) == ("tier_demoted", "1.234567891", 12)
    assert (told["evidence"], told["bound"], told["graded"]) == (1234.5, 0.75, 40)


@pytest.mark.parametrize(
    ("card", "reference", "floor"),
    [
        (CARD, None, 0.9 + 0.9 - 1 - 0.05),
        (replace(CARD, difference=-0.02), None, 0.9 + 0.92 - 1 - 0.05),
        (CARD, replace(CARD, tier="large", score=0.95), 0.9 + 0.95 - 1 - 0.05),
        (replace(CARD, score=0.3), None, 0.0),
        (None, None, 0.8 + 0.8 - 1 - 0.05),
    ],
)
def test_two_that_are_right_so_often_agree_at_least_so_often(
    card: Scorecard | None, reference: Scorecard | None, floor: float
) -> None:
    assert agreement_floor(TASK, card, reference, 0.05) == pytest.approx(floor)


def test_money_is_an_exact_text() -> None:
    assert message(ALARM, None, 7, saved=Nano(1))["saved_usd_last_24h"] == "0.000000001"
