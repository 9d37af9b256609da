"""Each surprise, on a few weeks of hours written by hand: told when it is there, and not when it is not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from farthing.money import NANO_PER_USD, Nano
from finops.findings import Finding, What
from finops.hours import DAY, WEEK, HourRow, Hours, Key, collect
from finops.patterns import evals_on_every_commit, forgotten_schedules, left_on
from finops.surprises import (
    falling_hit_rates,
    price_changes,
    prompt_growth,
    ramps,
    re_embeddings,
    retry_storms,
    surprises,
)
from finops.watch import Watch
from gateway.settings.forms import BudgetForm, UpstreamForm
from gateway.settings.routing_forms import FeatureForm

SPAN = 5 * WEEK
UNTIL = 480_000
BEGAN = UNTIL - SPAN
CHAT = Key("chat", "answer", "production", "large")
WATCH = Watch(owned=frozenset({"chat", "search", "evals"}))
Change = Callable[[int], dict[str, int]]


def row(key: Key, hour: int, calls: int, **more: int) -> HourRow:
    """An ordinary hour: a quarter of the calls hit, 1,000 tokens in and 100 out, one cent a call that is sent."""
    hits = more.pop("hits", calls // 4)
    sent = calls - hits
    figures = {
        "misses": sent,
        "attempts": sent,
        "input_tokens": 1_000 * sent,
        "output_tokens": 100 * sent,
        "cost": sent * NANO_PER_USD // 100,
    }
    given = figures | more
    return HourRow(hour=hour, key=key, requests=calls, hits=hits, **{**given, "cost": Nano(given["cost"])})


def office(hour: int) -> int:
    """Calls in an hour of people at work, by the UTC hour of the day."""
    return 400 if 8 <= hour % DAY < 18 else 80


def ordinary(*rows: HourRow) -> Hours:
    """Five weeks of chat; `rows` take the place of its hours, or stand beside them."""
    replaced = {(each.key, each.hour) for each in rows}
    usual = [row(CHAT, hour, office(hour)) for hour in range(BEGAN, UNTIL) if (CHAT, hour) not in replaced]
    return collect([*usual, *rows], until=UNTIL, count=SPAN)


def last(count: int, change: Callable[[int], HourRow]) -> list[HourRow]:
    return [change(hour) for hour in range(UNTIL - count, UNTIL)]


def only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_ten_times_the_calls_for_two_hours_is_a_ramp() -> None:
    hours = ordinary(*last(2, lambda hour: row(CHAT, hour, 10 * office(hour))))

    finding = only(ramps(hours, WATCH))

    assert (finding.what, finding.feature, finding.since) == (What.RAMP, "chat", UNTIL - 2)
    assert finding.per_day == pytest.approx(9 * 24 * office(UNTIL - 1) * 0.75 / 100 * NANO_PER_USD, rel=0.01)
    assert "10.0 times" in finding.cause


def test_one_wild_hour_is_no_ramp_and_neither_is_twice_as_much() -> None:
    assert ramps(ordinary(*last(1, lambda hour: row(CHAT, hour, 10 * office(hour)))), WATCH) == []
    assert ramps(ordinary(*last(5, lambda hour: row(CHAT, hour, 2 * office(hour)))), WATCH) == []
    assert ramps(ordinary(), WATCH) == []


def suite(*hours: int) -> list[HourRow]:
    return [row(Key("evals", "suite", "ci", "large"), hour, 300, hits=0) for hour in hours]


def test_a_suite_that_runs_ten_times_on_two_days_is_told() -> None:
    often = [UNTIL - day * DAY + hour for day in (1, 2) for hour in range(10)]

    finding = only(evals_on_every_commit(ordinary(*suite(*often)), WATCH))

    assert (finding.feature, finding.environment, finding.since) == ("evals", "ci", UNTIL - 2 * DAY)
    assert finding.per_day == 9 * 3 * NANO_PER_USD


def test_a_suite_that_runs_each_night_and_six_times_for_a_release_is_not_told() -> None:
    nightly = [UNTIL - day * DAY + 2 for day in range(1, 20)]
    release = [UNTIL - DAY + hour for hour in range(5, 10)]

    assert evals_on_every_commit(ordinary(*suite(*nightly, *release)), WATCH) == []


def test_an_environment_in_use_for_three_nights_was_left_on() -> None:
    dev = Key("chat", "answer", "dev", "large")
    hours = ordinary(*last(3 * DAY, lambda hour: row(dev, hour, 40, hits=0)))

    finding = only(left_on(hours, WATCH))

    assert (finding.environment, finding.feature) == ("dev", "chat")
    assert finding.per_day == 24 * 40 * NANO_PER_USD // 100


def test_people_at_work_and_a_day_of_load_are_not_left_on() -> None:
    dev = Key("chat", "answer", "dev", "large")

    def used(hour: int) -> HourRow:
        return row(dev, hour, 40 if 8 <= hour % DAY < 18 or hour >= UNTIL - DAY else 0, hits=0)

    assert left_on(ordinary(*last(6 * DAY, used)), WATCH) == []


@pytest.mark.parametrize(("period", "runs"), [(6, 6), (24, 4), (168, 4)])
def test_a_job_without_an_owner_that_runs_by_the_clock_is_told(period: int, runs: int) -> None:
    digest = Key("digest", "summary", "production", "large")
    rows = [row(digest, UNTIL - 1 - turn * period, 200, hits=0) for turn in range(runs)]

    finding = only(forgotten_schedules(ordinary(*rows), WATCH))

    assert (finding.feature, finding.task) == ("digest", "summary")
    assert f"every {period} hours" in finding.cause


def test_a_job_with_an_owner_or_three_runs_or_office_hours_is_not_told() -> None:
    digest = Key("digest", "summary", "production", "large")
    nightly = [row(digest, UNTIL - 1 - turn * DAY, 200, hits=0) for turn in range(6)]
    work = last(8 * DAY, lambda hour: row(digest, hour, 50 if 8 <= hour % DAY < 18 else 0, hits=0))

    assert forgotten_schedules(ordinary(*nightly), Watch(owned=frozenset({"chat", "digest"}))) == []
    assert forgotten_schedules(ordinary(*nightly[:3]), WATCH) == []
    assert forgotten_schedules(ordinary(*work), WATCH) == []


def embedded(model: str, hour: int, inputs: int) -> HourRow:
    return row(Key("search", "", "production", model), hour, 10, hits=0, inputs=inputs, output_tokens=0)


def test_a_new_embedding_model_that_is_fed_the_corpus_is_told() -> None:
    old = [embedded("embed-1", hour, 100) for hour in range(BEGAN, UNTIL)]

    finding = only(re_embeddings(ordinary(*old, *last(3, lambda hour: embedded("embed-2", hour, 9_000))), WATCH))

    assert (finding.feature, finding.model, finding.since) == ("search", "embed-2", UNTIL - 3)
    assert "27000 texts" in finding.cause


def test_a_trial_of_a_new_embedding_model_or_more_of_the_old_one_is_not_told() -> None:
    old = [embedded("embed-1", hour, 100) for hour in range(BEGAN, UNTIL)]

    assert re_embeddings(ordinary(*old, *last(3, lambda hour: embedded("embed-2", hour, 300))), WATCH) == []
    assert re_embeddings(ordinary(*old[:-3], *last(3, lambda hour: embedded("embed-1", hour, 9_000))), WATCH) == []


def test_prompts_that_are_a_third_longer_for_three_days_are_told_with_what_they_cost() -> None:
    def longer(hour: int) -> HourRow:
        sent = office(hour) * 3 // 4
        return row(CHAT, hour, office(hour), input_tokens=1_333 * sent, cost=sent * NANO_PER_USD // 80)

    finding = only(prompt_growth(ordinary(*last(3 * DAY, longer)), WATCH))

    assert (finding.feature, finding.task, finding.model) == ("chat", "answer", "large")
    assert finding.per_day == pytest.approx(0.0025 * NANO_PER_USD * 0.75 * (10 * 400 + 14 * 80), rel=0.01)
    assert "1333 input tokens a call, 1000" in finding.cause


def test_a_day_of_long_prompts_or_fewer_hits_are_no_growth() -> None:
    def longer(hour: int) -> HourRow:
        return row(CHAT, hour, office(hour), input_tokens=2_000 * office(hour))

    assert prompt_growth(ordinary(*last(DAY, longer)), WATCH) == []
    assert prompt_growth(ordinary(*last(3 * DAY, lambda hour: row(CHAT, hour, office(hour), hits=0))), WATCH) == []


def test_hits_that_fall_to_a_third_are_told_with_what_the_misses_cost() -> None:
    finding = only(
        falling_hit_rates(
            ordinary(*last(6, lambda hour: row(CHAT, hour, office(hour), hits=office(hour) // 12))), WATCH
        )
    )

    assert finding.feature == "chat"
    assert finding.per_day > 0
    assert "25% are usual" in finding.cause


def test_hits_that_are_as_usual_or_never_were_are_not_told() -> None:
    assert falling_hit_rates(ordinary(), WATCH) == []
    assert falling_hit_rates(ordinary(*last(SPAN, lambda hour: row(CHAT, hour, 500, hits=0))), WATCH) == []


def test_an_hour_in_which_each_call_is_tried_three_times_is_a_storm() -> None:
    hours = ordinary(*last(1, lambda hour: row(CHAT, hour, 400, attempts=900)))

    finding = only(retry_storms(hours, WATCH))

    assert (finding.feature, finding.since) == ("chat", UNTIL - 1)
    assert "600 tries failed for 300 calls" in finding.cause


def test_a_fifth_of_calls_that_fail_is_no_storm() -> None:
    assert retry_storms(ordinary(*last(1, lambda hour: row(CHAT, hour, 400, failed=60, attempts=330))), WATCH) == []


def dearer(hour: int, percent: int) -> HourRow:
    sent = office(hour) * 3 // 4
    return row(CHAT, hour, office(hour), cost=sent * NANO_PER_USD * (100 + percent) // 10_000)


@pytest.mark.parametrize("percent", [10, -20])
def test_tokens_that_cost_more_or_less_for_two_hours_are_told(percent: int) -> None:
    finding = only(price_changes(ordinary(*last(2, lambda hour: dearer(hour, percent))), WATCH))

    assert (finding.model, finding.feature, finding.since) == ("large", "chat", UNTIL - 2)
    assert f"{percent:+}%" in finding.cause
    assert (finding.per_day > 0) == (percent > 0)


def test_longer_answers_are_no_change_of_price() -> None:
    def told(hour: int, output: int) -> HourRow:
        sent = office(hour) * 3 // 4
        cost = sent * (1_000 * 5_000 + output * 50_000)
        return row(CHAT, hour, office(hour), output_tokens=output * sent, cost=cost)

    usual = [told(hour, 80 + hour % 50) for hour in range(BEGAN, UNTIL - 2)]

    assert price_changes(ordinary(*usual, *last(2, lambda hour: told(hour, 300))), WATCH) == []


def test_an_ordinary_month_has_no_surprises() -> None:
    assert surprises(ordinary(), WATCH) == []


def test_hours_outside_of_the_window_are_left_out_and_equal_ones_summed_up() -> None:
    rows = [row(CHAT, UNTIL, 9), row(CHAT, UNTIL - 3, 9), row(CHAT, UNTIL - 1, 4), row(CHAT, UNTIL - 1, 5)]

    (columns,) = collect(rows, until=UNTIL, count=2).by("feature").values()

    assert list(columns["requests"]) == [0, 9]


def test_what_would_stop_it_is_valid_yaml_of_the_configuration() -> None:
    digest, dev = Key("a" * 128, "b" * 128, "production", "large"), Key("chat", "answer", "dev", "large")
    hours = ordinary(
        *[row(digest, UNTIL - 1 - turn * DAY, 200, hits=0) for turn in range(6)],
        *last(3 * DAY, lambda hour: row(dev, hour, 40, hits=0)),
        *suite(*[UNTIL - day * DAY + hour for day in (1, 2) for hour in range(10)]),
        *last(2, lambda hour: row(CHAT, hour, 10 * office(hour), hits=0, attempts=20 * office(hour))),
        *[embedded("embed-1", hour, 100) for hour in range(BEGAN, UNTIL)],
        *last(3, lambda hour: embedded("embed-2", hour, 9_000)),
    )

    found = surprises(hours, WATCH)

    assert {finding.what for finding in found} >= set(What) - {What.PROMPT_GROWTH, What.PRICE, What.HIT_RATE}
    for finding in found:
        check(yaml.safe_load(finding.yaml))


def check(tree: dict[str, object]) -> None:
    """Fails where the settings would not take it."""
    ((section, value),) = tree.items()
    if section == "budgets":
        assert isinstance(value, list)
        BudgetForm.model_validate({**value[0], "limit_usd": str(value[0]["limit_usd"])})
    elif section == "features":
        assert isinstance(value, dict)
        FeatureForm.model_validate(*value.values())
    else:
        assert section == "upstream"
        UpstreamForm.model_validate(value)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda hour: row(CHAT, hour, office(hour), hits=0), What.HIT_RATE),
        (
            lambda hour: row(CHAT, hour, office(hour), input_tokens=1_500 * office(hour), cost=office(hour) * 10**8),
            None,
        ),
    ],
)
def test_settings_of_features_are_valid_too(change: Callable[[int], HourRow], what: What | None) -> None:
    found = [finding for finding in surprises(ordinary(*last(3 * DAY, change)), WATCH) if "features" in finding.yaml]

    assert [finding.what for finding in found] == [what or What.PROMPT_GROWTH]
    check(yaml.safe_load(found[0].yaml))


@pytest.mark.parametrize("what", What)
def test_each_surprise_is_explained(what: What) -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")

    assert f"| {what.value} |" in text
