"""Accounts and the calendar of their windows."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.catalog import Budget, Window
from farthing.money import Nano
from farthing.tags import Tags
from ledger.budgets import NEVER_NS, BudgetBook, accounts, period

TAGS = Tags(tenant="acme", key_id="key-1", feature="search", run="r1", team="web")


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 10**9


def budget(id_: str = "b", window: Window = Window.MONTH, **changes: object) -> Budget:
    return Budget(id=id_, limit=Nano(100), window=window, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("window", "key", "resets_at"),
    [
        (Window.HOUR, "2026-11-24T05+0000", "2026-11-24T06:00:00+00:00"),
        (Window.DAY, "2026-11-24", "2026-11-25T00:00:00+00:00"),
        (Window.WEEK, "2026-W48", "2026-11-30T00:00:00+00:00"),
        (Window.MONTH, "2026-11", "2026-12-01T00:00:00+00:00"),
        (Window.QUARTER, "2026-Q4", "2027-01-01T00:00:00+00:00"),
        (Window.RUN, "", None),
    ],
)
def test_a_window_has_a_name_and_an_end(window: Window, key: str, resets_at: str | None) -> None:
    turn = period(window, "UTC", at("2026-11-24T05:41:30"))

    assert (turn.key, turn.resets_at) == (key, resets_at)


@pytest.mark.parametrize(
    ("moment", "key"),
    [("2026-12-31T12:00", "2026-W53"), ("2027-01-03T23:59", "2026-W53"), ("2027-01-04T00:00", "2027-W01")],
)
def test_an_iso_week_may_belong_to_the_other_year(moment: str, key: str) -> None:
    turn = period(Window.WEEK, "UTC", at(moment))

    assert turn.key == key


def test_a_month_begins_at_midnight_in_the_timezone_of_the_budget() -> None:
    moment = at("2026-12-01T01:30")  # 20:30 on 30 November in New York

    turn = period(Window.MONTH, "America/New_York", moment)

    assert (turn.key, turn.resets_at) == ("2026-11", "2026-12-01T00:00:00-05:00")


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-06-01", 24), ("2026-10-25", 25)])
def test_a_day_is_as_long_as_the_clocks_make_it(day: str, hours: int) -> None:
    begin = at(f"{day}T00:00", "Europe/Berlin")

    turn = period(Window.DAY, "Europe/Berlin", begin)

    assert turn.key == day
    assert turn.end_ns - begin == hours * 3600 * 10**9


def test_an_hour_that_the_clocks_repeat_is_two_windows() -> None:
    first = period(Window.HOUR, "Europe/Berlin", at("2026-10-25T02:30", "Europe/Berlin", fold=0))
    second = period(Window.HOUR, "Europe/Berlin", at("2026-10-25T02:30", "Europe/Berlin", fold=1))

    assert (first.key, second.key) == ("2026-10-25T02+0200", "2026-10-25T02+0100")
    assert second.end_ns - first.end_ns == 3600 * 10**9


def test_a_midnight_that_the_clocks_skip_ends_the_day_all_the_same() -> None:
    # In Cairo the clocks go from 23:59:59 on 23 April 2026 to 01:00 on the 24th.
    turn = period(Window.DAY, "Africa/Cairo", at("2026-04-23T12:00", "Africa/Cairo"))

    assert turn.resets_at == "2026-04-24T01:00:00+03:00"


def test_hours_of_a_zone_with_half_an_hour_begin_on_its_own_clock() -> None:
    turn = period(Window.HOUR, "Asia/Kolkata", at("2026-11-24T05:15"))  # 10:45 there

    assert turn.resets_at == "2026-11-24T11:00:00+05:30"


def test_an_account_names_budget_scope_window_and_turn() -> None:
    monthly = budget("team", where=(("team", "web"),), per=("feature",), timezone="Europe/Berlin")

    (account,) = accounts([monthly], TAGS, at("2026-11-24T05:00"))

    assert account.id == "team|team=web,feature=search|month|2026-11"
    assert (account.budget, account.scope, account.window) == ("team", "team=web,feature=search", "month")
    assert (account.limit, account.resets_at) == (100, "2026-12-01T00:00:00+01:00")


def test_each_run_has_its_own_account_that_never_resets() -> None:
    (account,) = accounts([budget("runs", Window.RUN, per=("run",))], TAGS, at("2026-11-24T05:00"))

    assert (account.id, account.resets_at) == ("runs|tenant=acme,run=r1|run|", None)


def test_only_budgets_that_bind_the_tags_are_named_in_the_order_given() -> None:
    budgets = [
        budget("other-team", where=(("team", "data"),)),
        budget("key", where=(("key", "key-1"),)),
        budget("by-task", per=("task",)),  # the call has no task
        budget("everybody"),
    ]

    found = accounts(budgets, TAGS, at("2026-11-24T05:00"))

    assert [account.budget for account in found] == ["key", "everybody"]


@pytest.mark.parametrize("window", [window for window in Window if window is not Window.RUN])
def test_the_next_window_has_another_account(window: Window) -> None:
    now_ns = at("2026-11-24T05:41:30")
    end_ns = period(window, "Europe/Berlin", now_ns).end_ns
    book = BudgetBook([budget(window=window, timezone="Europe/Berlin")])

    before, after = book.accounts(TAGS, end_ns - 1), book.accounts(TAGS, end_ns)

    assert before == book.accounts(TAGS, now_ns)
    assert before[0].id != after[0].id


zones = st.sampled_from(
    ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Apia")
)
moments = st.integers(at("2024-01-01T00:00"), at("2035-01-01T00:00"))
near = st.builds(
    lambda base, steps: [base + step * 60 * 10**9 for step in steps],
    moments,
    st.lists(st.integers(-3000, 3000), min_size=1, max_size=6),
)
budgets = st.lists(
    st.builds(
        lambda number, window, zone, per: budget(f"b{number}", window, timezone=zone, per=per),
        st.integers(0, 9),
        st.sampled_from(Window),
        zones,
        st.sampled_from(((), ("run",), ("feature", "team"))),
    ),
    max_size=4,
)


@given(budgets, near)
def test_the_book_remembers_exactly_what_the_function_says(chosen: list[Budget], times: list[int]) -> None:
    book = BudgetBook(chosen)

    for now_ns in times:  # in any order: wall clocks jump
        assert book.accounts(TAGS, now_ns) == accounts(chosen, TAGS, now_ns)


@given(st.sampled_from([window for window in Window if window is not Window.RUN]), zones, moments)
def test_a_window_keeps_its_name_until_its_end_and_not_longer(window: Window, zone: str, now_ns: int) -> None:
    turn = period(window, zone, now_ns)

    assert now_ns < turn.end_ns < NEVER_NS
    assert period(window, zone, turn.end_ns - 1).key == turn.key
    assert period(window, zone, turn.end_ns).key != turn.key
