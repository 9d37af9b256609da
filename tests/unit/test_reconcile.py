"""The ledger beside an invoice: matching, gaps and their likely causes."""

import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from farthing.money import Nano, Rates
from farthing.record import Attempt, Billed, CacheOutcome, Extra, Outcome, Record, extras_cost
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from gateway import cli
from ledger.adjustments import Repricing, reprice
from ledger.booked import EXTRA_METERS, METERS, Booked, read_booked
from ledger.invoices import Broken, Invoice, Line, Meter
from ledger.price import PIECE_EXTRAS, TOKEN_EXTRAS
from ledger.prices import Price
from ledger.reconcile import Cause, Reconciliation, common_name, reconcile
from ledger.testing import example_record
from tests.ledgers import Engine, SQLiteEngine

DAY, NEXT, AFTER = date(2027, 1, 15), date(2027, 1, 16), date(2027, 1, 17)
DAY_NS = 1_800_000_000 * 10**9
RATES = Rates(input_uncached=10**9, cache_read=10**8, output=2 * 10**9, reasoning=2 * 10**9)
"""1, 0.1 and 2 USD a million."""


def line(meter: Meter, tokens: int | None, cost: int | None = None, **changes: Any) -> Line:
    values: dict[str, Any] = {"number": 2, "since": DAY, "until": NEXT, "model": "m", **changes}
    return Line(meter=meter, tokens=tokens, cost=None if cost is None else Nano(cost), **values)


def invoice(*lines: Line, broken: tuple[Broken, ...] = ()) -> Invoice:
    return Invoice(form="test", rows=len(lines), empty=0, lines=lines, broken=broken)


def booked(meter: Meter, tokens: int, cost: int = 0, **changes: Any) -> Booked:
    values: dict[str, Any] = {"day": DAY, "model": "m", "estimated": 0, **changes}
    return Booked(meter=meter, tokens=tokens, cost=Nano(cost), **values)


def causes(found: Reconciliation) -> dict[tuple[str, str], Cause]:
    return {(gap.cell.model, gap.cell.meter): gap.cause for gap in found.gaps}


BOOKED = [booked(Meter.INPUT, 1_000_000, 10**9), booked(Meter.OUTPUT, 500_000, 10**9)]
BILLED = (line(Meter.INPUT, 1_000_000, 10**9), line(Meter.OUTPUT, 500_000, 10**9))


def test_equal_sides_agree() -> None:
    found = reconcile(BOOKED, invoice(*BILLED))

    assert set(causes(found).values()) == {Cause.NONE}
    assert (found.totals, found.share) == ((2 * 10**9, 2 * 10**9), 0)


@pytest.mark.parametrize(
    ("ours", "theirs", "cell", "cause"),
    [
        ([], (line(Meter.INPUT, 10, 10**9, since=NEXT, until=AFTER),), ("m", "input"), Cause.NOT_BOOKED),
        ([booked(Meter.INPUT, 10, 10**9, day=NEXT)], (), ("m", "input"), Cause.NOT_BILLED),
        ([], (line(Meter.INPUT, 9, 10**9, model="gpt-9"),), ("gpt-9", "input"), Cause.UNKNOWN_MODEL),
        ([booked(Meter.INPUT, 9, 10**9, model="gpt-9")], (), ("gpt-9", "input"), Cause.UNBILLED_MODEL),
        ([], (line(Meter.OTHER, None, 10**9, model=""),), ("", "other"), Cause.FEE),
        ([], (line(Meter.OTHER, None, 10**9),), ("m", "other"), Cause.FEE),
        ([], (line(Meter.INPUT, 0, 3 * 10**6),), ("m", "input"), Cause.ROUNDING),
        ([], (line(Meter.INPUT, 0, 5 * 10**8),), ("m", "input"), Cause.PRICE),
        ([], (line(Meter.INPUT, 700_000, 7 * 10**8),), ("m", "input"), Cause.OUTSIDE),
        ([booked(Meter.INPUT, 700_000, 7 * 10**8)], (), ("m", "input"), Cause.NOT_YET),
        ([booked(Meter.INPUT, 700_000, 7 * 10**8, estimated=9)], (), ("m", "input"), Cause.ESTIMATED),
    ],
)
def test_a_gap_has_its_likely_cause(
    ours: list[Booked], theirs: tuple[Line, ...], cell: tuple[str, str], cause: Cause
) -> None:
    found = reconcile([*BOOKED, *ours], invoice(*BILLED, *theirs))

    told = causes(found)
    assert told[cell] is cause
    assert told["m", "output"] is Cause.NONE


def test_input_that_moved_between_its_classes_is_told_as_such() -> None:
    ours = [booked(Meter.INPUT, 1_000_000, 10**9)]
    theirs = (line(Meter.INPUT, 400_000, 4 * 10**8), line(Meter.CACHE_READ, 600_000, 6 * 10**7))

    found = reconcile(ours, invoice(*theirs))

    assert causes(found) == {("m", "input"): Cause.CACHE_CLASS, ("m", "cache read"): Cause.CACHE_CLASS}


def test_costs_alone_cannot_tell_price_from_calls() -> None:
    found = reconcile(BOOKED, invoice(line(Meter.INPUT, None, 2 * 10**9), line(Meter.OUTPUT, None, 10**9)))

    assert causes(found) == {("m", "input"): Cause.UNCLEAR, ("m", "output"): Cause.NONE}


def test_usage_alone_is_compared_by_tokens() -> None:
    found = reconcile(BOOKED, invoice(line(Meter.INPUT, 1_000_000), line(Meter.OUTPUT, 250_000)))

    assert found.in_money is False
    assert found.share == Decimal("0.2")


def test_an_invoice_without_models_is_compared_day_by_day() -> None:
    found = reconcile(BOOKED, invoice(line(Meter.OTHER, None, 2 * 10**9, model="")))

    (gap,) = found.gaps
    assert (gap.cell.model, gap.cell.meter, gap.cause) == ("", "", Cause.NONE)


def test_a_longer_period_is_compared_as_a_whole() -> None:
    ours = [booked(Meter.INPUT, 1, 10**9), booked(Meter.INPUT, 1, 10**9, day=NEXT)]

    found = reconcile(ours, invoice(line(Meter.INPUT, 2, 2 * 10**9, until=AFTER)))

    assert causes(found) == {("m", "input"): Cause.NONE}


def test_a_ledger_beside_an_empty_invoice_is_all_gap() -> None:
    assert reconcile(BOOKED, invoice(line(Meter.INPUT, 0, 0))).share == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Claude Haiku 4.5", "claude-haiku-4-5-20251001"),
        ("Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet-20241022"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gemini-2.5-pro", "Gemini 2.5 Pro"),
    ],
)
def test_both_sides_names_of_a_model_are_one(one: str, other: str) -> None:
    assert common_name(one) == common_name(other)


def test_different_models_stay_different() -> None:
    assert common_name("gpt-4o") != common_name("gpt-4o-mini")


def test_every_token_class_has_a_meter() -> None:
    assert set(METERS) == set(TOKEN_CLASSES)


# --- the ledger's side ---------------------------------------------------------------------------


def record(id_: str, **changes: Any) -> Record:
    usage = Usage(input_uncached=1000, cache_read=2000, output=300, reasoning=200)
    values: dict[str, Any] = {
        "usage": usage,
        "provider": "openai",
        "model_served": "m",
        "cost": RATES.cost(usage),
        "rates": json.dumps(RATES.as_dict()),
        "price_version": "v",
    }
    return example_record(id_, **{**values, **changes})


def sides(engine: Engine) -> dict[Meter, tuple[int, int]]:
    found = read_booked(engine.database, ["openai"], DAY, NEXT)
    sums = {one.meter: [0, 0] for one in found}
    for one in found:
        sums[one.meter][0] += one.tokens
        sums[one.meter][1] += one.cost
    return {meter: (tokens, cost) for meter, (tokens, cost) in sums.items()}


def test_the_ledgers_figures_are_split_by_meter_at_their_own_rates(engine: Engine) -> None:
    engine.write(record("a"), record("b"))

    assert sides(engine) == {
        Meter.INPUT: (2000, 2_000_000),
        Meter.CACHE_READ: (4000, 400_000),
        Meter.OUTPUT: (1000, 2_000_000),
    }


def test_what_rates_do_not_explain_is_a_fee(engine: Engine) -> None:
    engine.write(record("a", cost=Nano(9_000_000)))

    assert sides(engine)[Meter.OTHER] == (0, 9_000_000 - RATES.cost(record("a").usage))


def with_extras(id_: str, *extras: Extra) -> Record:
    plain = record(id_)
    return record(id_, cost=Nano(plain.cost + extras_cost(extras)), extras=extras)


def test_what_is_no_token_class_has_a_meter_of_its_own(engine: Engine) -> None:
    """100 of 300 tokens of output are images at 30 USD a million, which is 28 beyond the 2 of text."""
    images = Extra(name="output_image", quantity=100, rate=28 * 10**9)
    searches = Extra(name="web_searches", quantity=3, rate=10**13)
    cached_audio = Extra(name="cached_audio", quantity=10, rate=10**9)
    engine.write(with_extras("a", images, searches, cached_audio), record("b"))

    assert sides(engine) == {
        Meter.INPUT: (2000, 2_000_000),
        Meter.CACHE_READ: (4000, 400_000 + 10_000),
        Meter.OUTPUT: (1000 - 100, 2_000_000 - 200_000),
        Meter.IMAGE_OUTPUT: (100, 3_000_000),
        Meter.SEARCHES: (0, 30_000_000),
    }


def test_a_part_by_another_model_is_that_models(engine: Engine) -> None:
    """200 of the 300 tokens of output at 5 USD a million instead of 2, and 50 of them images at 25."""
    part = Extra(name="output", quantity=200, rate=3 * 10**9, model="big", part=1)
    images = Extra(name="output_image", quantity=50, rate=20 * 10**9, model="big", part=1)
    engine.write(with_extras("a", part, images), with_extras("b", part, images))

    found = read_booked(engine.database, ["openai"], DAY, NEXT)

    assert {(one.model, one.meter): (one.tokens, one.cost) for one in found} == {
        ("m", Meter.INPUT): (2000, 2_000_000),
        ("m", Meter.CACHE_READ): (4000, 400_000),
        ("m", Meter.OUTPUT): (600, 1_200_000),
        ("big", Meter.OUTPUT): (300, 1_500_000),
        ("big", Meter.IMAGE_OUTPUT): (100, 2_500_000),
    }


def test_what_a_failed_attempt_billed_is_its_own_providers_and_models(engine: Engine) -> None:
    """300 tokens in at 1 and 100 out at 2 USD a million at another provider, whose model answered nothing."""
    usage = Usage(input_uncached=300, output=100)
    rates = json.dumps(RATES.as_dict())
    billed = Billed(provider="anthropic", model="c", usage=usage, rates=rates, price_version="v")
    plain = record("a")
    attempts = (
        Attempt(deployment="anthropic/c", status=502, error="http_502", seconds=1, cost=Nano(500_000), billed=billed),
        Attempt(deployment="openai/m", status=200, error="", seconds=1, cost=plain.cost),
    )
    engine.write(record("a", cost=Nano(plain.cost + 500_000), attempts=attempts))

    ours, theirs, both = (
        {(one.model, one.meter): (one.tokens, one.cost) for one in read_booked(engine.database, providers, DAY, NEXT)}
        for providers in (["openai"], ["anthropic"], ["openai", "anthropic"])
    )

    assert ours == {
        ("m", Meter.INPUT): (1000, 1_000_000),
        ("m", Meter.CACHE_READ): (2000, 200_000),
        ("m", Meter.OUTPUT): (500, 1_000_000),
    }
    assert theirs == {("c", Meter.INPUT): (300, 300_000), ("c", Meter.OUTPUT): (100, 200_000)}
    assert both == ours | theirs


def test_every_extra_that_has_a_price_has_a_meter() -> None:
    assert set(EXTRA_METERS) == {*TOKEN_EXTRAS, *PIECE_EXTRAS}


def test_an_invoice_that_does_not_tell_images_or_searches_has_them_in_output_and_other() -> None:
    ours = [*BOOKED, booked(Meter.IMAGE_OUTPUT, 100, 10**9), booked(Meter.SEARCHES, 0, 10**9)]
    output, other = line(Meter.OUTPUT, 500_100, 2 * 10**9), line(Meter.OTHER, None, 10**9)

    apart = reconcile(ours, invoice(*BILLED, line(Meter.IMAGE_OUTPUT, 100, 10**9), line(Meter.SEARCHES, None, 10**9)))
    together = reconcile(ours, invoice(BILLED[0], output, other))

    assert set(causes(apart).values()) == set(causes(together).values()) == {Cause.NONE}
    assert ("m", "searches") in causes(apart)
    assert ("m", "searches") not in causes(together)


def test_hits_other_providers_and_other_days_do_not_count(engine: Engine) -> None:
    engine.write(
        record("hit", cache=CacheOutcome.EXACT, outcome=Outcome.HIT, cost=Nano(0)),
        record("other", provider="anthropic"),
        record("later", received_ns=DAY_NS + 86_400 * 10**9),
    )

    assert sides(engine) == {}


def test_estimates_are_told(engine: Engine) -> None:
    usage = Usage(input_uncached=10, source=UsageSource.ESTIMATED)
    engine.write(record("a", usage=usage, cost=RATES.cost(usage)))

    (one,) = read_booked(engine.database, ["openai"], DAY, NEXT)
    assert one.estimated == 10


def test_corrected_records_are_compared_at_their_corrected_rates(engine: Engine) -> None:
    engine.write(record("a"))
    double = Rates(input_uncached=2 * 10**9, cache_read=10**8, output=2 * 10**9, reasoning=2 * 10**9)
    asked = Repricing(since_ns=0, until_ns=2**62, now_ns=DAY_NS)

    reprice(engine.database, asked, lambda *_: Price("new", ((-1, double),)))

    assert sides(engine)[Meter.INPUT] == (1000, 2_000_000)
    assert sides(engine).get(Meter.OTHER) is None


# --- the command ---------------------------------------------------------------------------------

USAGE_HEAD = "start_time_iso,model,input_tokens,input_cached_tokens,output_tokens\n"


def run(*arguments: object, code: int) -> str:
    result = CliRunner().invoke(cli.app, ["reconcile", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    SQLiteEngine(tmp_path / "ledger.db").write(record("a"))
    return tmp_path


@pytest.mark.parametrize(
    ("row", "tolerance", "code", "told"),
    [
        ("2027-01-15,m-2026-01-01,3000,2000,500", "0", 0, "0.000%, within"),
        ("2027-01-15,m,3000,2000,550", "2%", 0, "within the tolerance of 2%"),
        ("2027-01-15,m,3000,2000,550", "0.5%", 1, "past the tolerance of 0.5%"),
        ("2027-01-15,m,3000,2000,5000", "0.02", 1, "calls outside of the gateway"),
        ("2027-01-15,m,3000,2000,500\nnever,m,1,0,1", "2%", 1, "line 3: start_time_iso 'never' is no date"),
    ],
)
def test_the_command_tells_the_gap_and_ends_with_1_past_the_tolerance(
    data: Path, row: str, tolerance: str, code: int, told: str
) -> None:
    (data / "usage.csv").write_text(USAGE_HEAD + row + "\n", encoding="utf-8")

    output = run("usage.csv", "--provider", "openai", "--tolerance", tolerance, "--data-dir", data, code=code)

    assert told in output


def test_rows_beyond_the_limit_are_summed(data: Path) -> None:
    rows = "".join(f"2027-01-15,other-{number},10,0,1\n" for number in range(9))
    (data / "usage.csv").write_text(USAGE_HEAD + rows, encoding="utf-8")

    output = run("usage.csv", "--provider", "openai", "--rows", "2", "--data-dir", data, code=1)

    assert "19 more" in output


@pytest.mark.parametrize("tolerance", ["much", "-1%", "2%%", "NaN"])
def test_a_tolerance_that_is_none_is_said(data: Path, tolerance: str) -> None:
    (data / "usage.csv").write_text(USAGE_HEAD, encoding="utf-8")

    assert "is no tolerance" in run(
        "usage.csv", "--provider", "openai", f"--tolerance={tolerance}", "--data-dir", data, code=2
    )


def test_a_file_without_figures_is_said(data: Path) -> None:
    (data / "usage.csv").write_text(USAGE_HEAD + "never,m,1,0,1\n", encoding="utf-8")

    assert "first broken line is 2" in run("usage.csv", "--provider", "openai", "--data-dir", data, code=2)


# --- what programs read --------------------------------------------------------------------------

COSTS_HEAD = "usage_date_utc,model,token_type,cost_usd\n"
COSTS = (
    "2027-01-15,m,input_no_cache,0.001000000\n"
    "2027-01-15,m,input_cache_read,0.0002\n"
    "2027-01-15,m,output,0.001000001\n"
    "2027-01-15,=cmd|' /C calc'!A0,output,0.3\n"
    "never,m,output,9\n"
)
"""Beside record `a`: input and cached input agree, output and a model differ, and a line is broken."""


@pytest.fixture
def costs(data: Path) -> Path:
    path = data / "costs.csv"
    path.write_text(COSTS_HEAD + COSTS, encoding="utf-8")
    return path


def told(path: Path, format_: str, *, code: int = 1, **options: str) -> str:
    chosen = [f"--{name}={value}" for name, value in options.items()]
    return run(path, "--provider", "openai", "--data-dir", path.parent, "--format", format_, *chosen, code=code)


def test_json_has_every_cell_cause_and_total_in_exact_decimals(costs: Path) -> None:
    whole = json.loads(told(costs, "json", rows="1"))

    cells = {(cell["model"], cell["meter"]): cell for cell in whole["cells"]}
    assert (whole["providers"], whole["since"], whole["until"]) == (["openai"], "2027-01-15", "2027-01-16")
    assert cells["m", "output"] == {
        "since": "2027-01-15",
        "until": "2027-01-16",
        "model": "m",
        "meter": "output",
        "ledger_tokens": 500,
        "invoice_tokens": None,
        "gap_tokens": None,
        "ledger_usd": "0.001000000",
        "invoice_usd": "0.001000001",
        "gap_usd": "-0.000000001",
        "cause": "rounding",
    }
    assert cells["m", "input"]["cause"] == "agrees"
    assert whole["total"] == {
        "ledger_tokens": 2000 + 1000 + 500,
        "invoice_tokens": None,
        "gap_tokens": None,
        "ledger_usd": "0.002200000",
        "invoice_usd": "0.302200001",
        "gap_usd": "-0.300000001",
        "compared_in": "USD",
        "gap_share": whole["total"]["gap_share"],
        "tolerance": "0.02",
        "within_tolerance": False,
    }
    assert Decimal(whole["total"]["gap_share"]) == Decimal("0.300000001") / Decimal("0.302200001")
    assert [broken["line"] for broken in whole["file"]["broken"]] == [6]


@pytest.mark.parametrize("part", ["cells", "causes"])
def test_json_adds_up(costs: Path, part: str) -> None:
    whole = json.loads(told(costs, "json"))

    for name in ("ledger_usd", "invoice_usd", "gap_usd"):
        assert sum(Decimal(one[name]) for one in whole[part]) == Decimal(whole["total"][name])
    assert sum(one["cells"] for one in whole["causes"]) == len(whole["cells"])


def test_csv_says_the_same_as_json_line_by_line(costs: Path) -> None:
    whole = json.loads(told(costs, "json"))

    rows = list(csv.DictReader(io.StringIO(told(costs, "csv"))))

    by_row = {kind: [row for row in rows if row["row"] == kind] for kind in ("cell", "cause", "broken", "total")}
    assert sum(map(len, by_row.values())) == len(rows)
    assert [row["gap_usd"] for row in by_row["cell"]] == [cell["gap_usd"] for cell in whole["cells"]]
    assert [row["says"] for row in by_row["cause"]] == [cause["cause"] for cause in whole["causes"]]
    assert [row["says"] for row in by_row["broken"]] == ["line 6: usage_date_utc 'never' is no date"]
    (total,) = by_row["total"]
    assert (total["ledger_usd"], total["gap_usd"]) == ("0.002200000", "-0.300000001")
    assert "past the tolerance of 2%" in total["says"]


def test_no_cell_of_the_csv_begins_a_formula(costs: Path) -> None:
    rows = list(csv.reader(io.StringIO(told(costs, "csv"))))

    cells = [cell for row in rows for cell in row]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))] == []
    assert all(Decimal(cell) < 0 for cell in cells if cell.startswith("-"))  # amounts alone


def test_within_the_tolerance_the_exit_code_is_0_in_every_format(data: Path) -> None:
    path = data / "usage.csv"
    path.write_text(USAGE_HEAD + "2027-01-15,m,3000,2000,500\n", encoding="utf-8")

    assert json.loads(told(path, "json", code=0))["total"]["within_tolerance"] is True
    assert "within the tolerance" in told(path, "csv", code=0)
    assert "within the tolerance" in told(path, "table", code=0)


# --- a FOCUS file of many providers --------------------------------------------------------------

FOCUS_HEAD = "BilledCost,BillingCurrency,ChargePeriodStart,SkuMeter,x_ModelId,ServiceCategory,ServiceProviderName\n"
AI = "AI and Machine Learning"
FOCUS = (
    f"0.001,USD,2027-01-15T00:00:00Z,Input Tokens,m,{AI},OpenAI\n"
    f"0.0002,USD,2027-01-15T00:00:00Z,Cache Read Input Tokens,m,{AI},OpenAI\n"
    f"0.001,USD,2027-01-15T00:00:00Z,Output Tokens,m,{AI},OpenAI\n"
    f"7,USD,2027-01-15T00:00:00Z,Output Tokens,m,{AI},Anthropic\n"
    "5,USD,2027-01-15T00:00:00Z,Hours,,Compute,AWS\n"
)
"""What record `a` cost, beside rows of others."""


@pytest.fixture
def focus(data: Path) -> Path:
    path = data / "focus.csv"
    path.write_text(FOCUS_HEAD + FOCUS, encoding="utf-8")
    return path


def test_other_providers_rows_are_not_in_this_providers_invoice_and_are_counted(focus: Path) -> None:
    whole = json.loads(told(focus, "json", code=0))

    assert (whole["total"]["ledger_usd"], whole["total"]["invoice_usd"]) == ("0.002200000", "0.002200000")
    assert whole["file"]["left_out"] == [
        {"reason": "ServiceCategory is Compute", "rows": 1},
        {"reason": "the provider is Anthropic", "rows": 1},
    ]
    table = told(focus, "table", code=0)
    assert "5 lines, 0 without figures, 2 left out, 0 broken" in table
    assert "left out, since the provider is Anthropic: 1" in table
    assert "left out,,,,,,,,,,,1,the provider is Anthropic" in told(focus, "csv", code=0)


def test_a_name_that_is_not_known_can_be_told(focus: Path) -> None:
    focus.write_text(FOCUS_HEAD + FOCUS.replace("OpenAI", "Reseller 7"), encoding="utf-8")

    refused = run(focus, "--provider", "openai", "--data-dir", focus.parent, code=2)

    assert "no figure of 'openai'" in refused
    assert "the provider is Reseller 7 (3)" in refused
    assert "--billed-as" in refused
    assert "within" in told(focus, "table", code=0, **{"billed-as": "reseller 7"})


def test_a_focus_file_that_names_nobody_is_counted_whole_and_says_so(focus: Path) -> None:
    lines = (FOCUS_HEAD + FOCUS).splitlines()[:4]
    focus.write_text("\n".join(line.rpartition(",")[0] for line in lines), encoding="utf-8")

    assert "no column that names a provider: all of its lines count" in told(focus, "table", code=0)
    assert json.loads(told(focus, "json", code=0))["file"]["names_providers"] is False


HOUSE = """
providers: {house: {kind: openai, api_key: "${KEY}"}}
tiers: [{name: only, deployments: [{provider: house, model: gpt-4o-mini}]}]
default_tier: only
features: {chat: {team: web}}
"""
"""A provider under a name of its own, priced as what it is."""


def test_a_provider_with_a_name_of_its_own_is_looked_for_by_the_one_in_the_price_list(
    focus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "k")
    (focus.parent / "config").mkdir()
    (focus.parent / "config" / "farthing.yaml").write_text(HOUSE, encoding="utf-8")

    whole = json.loads(run(focus, "--provider", "house", "--data-dir", focus.parent, "--format", "json", code=1))

    assert whole["providers"] == ["house"]
    assert whole["total"]["invoice_usd"] == "0.002200000"
