"""Invoices of providers, read line by line."""

import csv
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import InvalidParameter
from farthing.money import nano_from_usd
from ledger.billednames import billed_names, plain_name
from ledger.invoices import FORMS, Invoice, Meter, _meter, read_invoice

DRAFTS = Path(__file__).parents[3] / "shared" / "data" / "focus" / "draft-1.5"

OPENAI_USAGE = """start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,model,batch,\
input_tokens,output_tokens,input_cached_tokens
1793664000,1793750400,2026-11-03T00:00:00+00:00,2026-11-04T00:00:00+00:00,p1,3,gpt-4o-mini-2024-07-18,false,1000,50,400
1793750400,1793836800,2026-11-04T00:00:00+00:00,2026-11-05T00:00:00+00:00,,,,,,,
"""
OPENAI_COSTS = """start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,\
line_item
1793664000,1793750400,2026-11-03T00:00:00,2026-11-04T00:00:00,0.00009000000000000000,usd,600,tokens,"gpt-4o-mini, input"
1793664000,1793750400,2026-11-03T00:00:00,2026-11-04T00:00:00,0.00003,usd,,,"gpt-4o-mini, cached input"
1793664000,1793750400,2026-11-03T00:00:00,2026-11-04T00:00:00,0.5,usd,,,web search tool calls
1793750400,1793836800,2026-11-04T00:00:00,2026-11-05T00:00:00,,,,,
"""
ANTHROPIC_USAGE = """usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,\
usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count
2026-11-03,claude-haiku-4-5-20251001,k,100,20,3,4000,7,0
"""
ANTHROPIC_COSTS = """usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd
2026-11-03,Claude Haiku 4.5,Default,k,message,≤ 200k,input_no_cache,0.05,0.05
2026-11-03,Claude Haiku 4.5,Default,k,message,≤ 200k,input_cache_read,0.02,0.02
2026-11-03,Claude Haiku 4.5,Default,k,message,≤ 200k,input_cache_write_5m,0.03,0.03
2026-11-03,Claude Haiku 4.5,Default,k,message,≤ 200k,output,0.04,0.04
2026-11-03,,Default,k,web_search,,,0.01,0.01
"""
FOCUS = """BilledCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,ConsumedQuantity,ConsumedUnit,SkuId,SkuMeter,\
SkuPriceDetails
1.5,USD,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,500000.0,Tokens,s-in,Input Tokens,\
"{""ModelId"": ""solora"", ""TokenDirection"": ""Input"", ""TokenCacheAction"": ""Uncached""}"
2.4,USD,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,8.0,1000000 Tokens,s-read,Cached Input Tokens,\
"{""ModelId"": ""solora"", ""TokenDirection"": ""Input"", ""TokenCacheAction"": ""Read""}"
3.0,USD,2026-11-03T10:00:00Z,2026-11-03T11:00:00Z,7,Tokens,s-out,Output Tokens,
6.0,USD,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,6000000.0,Token-Hours,s-st,Context Cache Storage,null
-1.0,USD,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,,,s-credit,,
"""

Read = Callable[..., Invoice]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def work(text: str, form: str = "auto") -> Invoice:
        path = tmp_path / "invoice.csv"
        path.write_text(text, encoding="utf-8")
        return read_invoice(path, form)

    return work


def figures(invoice: Invoice) -> list[tuple[str, str, int | None, int | None]]:
    return [(line.model, line.meter.value, line.tokens, line.cost) for line in invoice.lines]


def test_openais_usage_gives_uncached_input_and_leaves_empty_days_out(read: Read) -> None:
    invoice = read(OPENAI_USAGE)

    model = "gpt-4o-mini-2024-07-18"
    assert (invoice.form, invoice.rows, invoice.empty, invoice.broken) == ("openai-usage", 2, 1, ())
    assert figures(invoice) == [
        (model, "input", 600, None),
        (model, "cache read", 400, None),
        (model, "output", 50, None),
    ]
    assert {(line.number, line.since, line.until) for line in invoice.lines} == {
        (2, date(2026, 11, 3), date(2026, 11, 4))
    }


def test_openais_costs_name_model_and_meter_in_one_cell(read: Read) -> None:
    invoice = read(OPENAI_COSTS)

    assert (invoice.form, invoice.rows, invoice.empty) == ("openai-costs", 4, 1)
    assert figures(invoice) == [
        ("gpt-4o-mini", "input", 600, 90_000),
        ("gpt-4o-mini", "cache read", None, 30_000),
        ("web search tool calls", "other", None, 500_000_000),
    ]


def test_anthropics_usage_has_a_column_for_each_class(read: Read) -> None:
    invoice = read(ANTHROPIC_USAGE)

    assert invoice.form == "anthropic"
    assert [(meter, tokens) for _, meter, tokens, _ in figures(invoice)] == [
        ("input", 100),
        ("cache read", 4000),
        ("cache write", 23),
        ("output", 7),
    ]


def test_anthropics_costs_have_a_row_for_each_class(read: Read) -> None:
    invoice = read(ANTHROPIC_COSTS)

    assert invoice.form == "anthropic"
    assert [(model, meter, cost) for model, meter, _, cost in figures(invoice)] == [
        ("Claude Haiku 4.5", "input", nano_from_usd("0.05")),
        ("Claude Haiku 4.5", "cache read", nano_from_usd("0.02")),
        ("Claude Haiku 4.5", "cache write", nano_from_usd("0.03")),
        ("Claude Haiku 4.5", "output", nano_from_usd("0.04")),
        ("", "other", nano_from_usd("0.01")),
    ]


def test_focus_tells_model_and_class_in_its_details_or_its_meter(read: Read) -> None:
    invoice = read(FOCUS)

    assert (invoice.form, invoice.broken) == ("focus", ())
    assert figures(invoice) == [
        ("solora", "input", 500_000, 1_500_000_000),
        ("solora", "cache read", 8_000_000, 2_400_000_000),
        ("s-out", "output", 7, 3_000_000_000),
        ("s-st", "other", None, 6_000_000_000),
        ("s-credit", "other", None, -1_000_000_000),
    ]
    assert (invoice.lines[0].until - invoice.lines[0].since).days == 30
    assert (invoice.lines[2].until - invoice.lines[2].since).days == 1


def test_what_a_cloud_sells_beside_models_is_counted_and_left_out(read: Read) -> None:
    head, *rows = FOCUS.replace("SkuId,", "SkuId,ServiceCategory,").splitlines()
    rows = [row.replace(",s-in,", ",s-in,AI and Machine Learning,") for row in rows[:1]]
    invoice = read("\n".join([head, *rows, "9,USD,2026-11-01T00:00:00Z,,1,Hours,vm,Compute,,", ""]))

    assert (invoice.rows, invoice.left_out, len(invoice.lines)) == (2, {"ServiceCategory is Compute": 1}, 1)


PROVIDERS_HEAD = "BilledCost,BillingCurrency,ChargePeriodStart,SkuId,"


def focus_of(column: str, *names: str, currency: str = "USD") -> str:
    """A FOCUS file with a row of one dollar for each name."""
    rows = [f"1,{currency},2026-11-03T00:00:00Z,m{number},{name}" for number, name in enumerate(names)]
    return "\n".join([PROVIDERS_HEAD + column, *rows, ""])


def read_of(path: Path, text: str, *names: str) -> Invoice:
    path.write_text(text, encoding="utf-8")
    return read_invoice(path, "auto", billed_names(names))


@pytest.mark.parametrize("column", ["ServiceProviderName", "ProviderName", "InvoiceIssuerName"])
def test_rows_of_other_providers_in_one_focus_file_are_left_out_and_counted(tmp_path: Path, column: str) -> None:
    text = focus_of(column, "OpenAI", "Anthropic", '"OpenAI, LLC"', "Anthropic", "AWS")

    invoice = read_of(tmp_path / "focus.csv", text, "openai")

    assert [line.model for line in invoice.lines] == ["m0", "m2"]
    assert invoice.left_out == {"the provider is Anthropic": 2, "the provider is AWS": 1}
    assert (invoice.rows, invoice.names_providers, invoice.broken) == (5, True, ())


def test_who_sells_counts_before_who_sends_the_invoice(tmp_path: Path) -> None:
    text = focus_of("ServiceProviderName,InvoiceIssuerName", "Anthropic,AWS", ",AWS")

    assert [line.model for line in read_of(tmp_path / "focus.csv", text, "anthropic").lines] == ["m0"]
    assert [line.model for line in read_of(tmp_path / "focus.csv", text, "aws").lines] == ["m1"]


def test_a_row_of_another_provider_breaks_nothing_whatever_its_currency(tmp_path: Path) -> None:
    invoice = read_of(tmp_path / "focus.csv", focus_of("ProviderName", "Mistral AI", currency="EUR"), "openai")

    assert (invoice.broken, invoice.left_out) == ((), {"the provider is Mistral AI": 1})


def test_a_row_that_names_no_provider_beside_others_that_do_is_broken_and_not_counted(tmp_path: Path) -> None:
    invoice = read_of(tmp_path / "focus.csv", focus_of("ProviderName", "OpenAI", ""), "openai")

    assert [(one.number, one.problem) for one in invoice.broken] == [(3, "it names no provider")]
    assert len(invoice.lines) == 1


def test_a_file_that_has_no_column_for_providers_is_read_whole(read: Read) -> None:
    invoice = read(FOCUS)

    assert (invoice.names_providers, invoice.left_out, invoice.rows) == (False, {}, 5)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("openai", "OpenAI OpCo, LLC"),
        ("anthropic", "Anthropic, PBC"),
        ("anthropic", "Anthropic Ireland, Limited"),
        ("aws", "Amazon Web Services, Inc."),
        ("azure", "Microsoft Corporation"),
        ("google", "Google Cloud"),
        ("mistral", "Mistral AI"),
        ("x-ai", "xAI"),
        ("zai", "Z.AI"),
        ("my-own", "My own"),
    ],
)
def test_a_provider_is_known_by_what_its_bills_call_it(name: str, written: str) -> None:
    assert plain_name(written) in billed_names([name])


@pytest.mark.parametrize("other", ["OpenAI Decisions", "Microsoft", "LLC", ""])
def test_a_name_that_only_looks_alike_is_another_provider(other: str) -> None:
    assert plain_name(other) not in billed_names(["openai"])


@pytest.mark.skipif(not DRAFTS.is_dir(), reason="the reference data is not here")
@pytest.mark.parametrize(
    ("name", "usd"),
    [("ai_prompt_caching_a", "33.90"), ("ai_prompt_caching_b", "38.40"), ("per_token_ai_model_api", "94.50")],
)
def test_the_drafts_of_focus_add_up(name: str, usd: str) -> None:
    invoice = read_invoice(DRAFTS / f"{name}.csv")

    assert sum(line.cost or 0 for line in invoice.lines) == nano_from_usd(usd)
    assert invoice.broken == ()


HEAD = "start_time_iso,end_time_iso,model,input_tokens,input_cached_tokens,output_tokens\n"
GOOD = "2026-11-03,,m,10,0,5\n"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("yesterday,,m,1,0,1", "is no date"),
        ("2026-11-03,2026-11-01,m,1,0,1", "ends before"),
        ("2026-11-03,,m,-1,0,1", "is no number of tokens"),
        ("2026-11-03,,m,1.5,0,1", "is no number of tokens"),
        ("2026-11-03,,m,many,0,1", "is no number"),
        ("2026-11-03,,m,NaN,0,1", "is no number"),
        ("2026-11-03,,m,5,6,1", "more was taken"),
        ("2026-11-03,,m,1,0", "has 5 cells"),
        ("2026-11-03,,m,1,0,1,1", "has 7 cells"),
    ],
)
def test_a_broken_line_is_named_by_its_number_and_the_others_are_read(read: Read, row: str, problem: str) -> None:
    invoice = read(HEAD + GOOD + row + "\n" + GOOD)

    (broken,) = invoice.broken
    assert broken.number == 3
    assert problem in broken.problem
    assert {line.number for line in invoice.lines} == {2, 4}
    assert invoice.rows == 3


def test_another_currency_is_a_broken_line(read: Read) -> None:
    invoice = read(OPENAI_COSTS.replace("0.5,usd", "0.5,eur"))

    assert [(broken.number, "eur" in broken.problem) for broken in invoice.broken] == [(4, True)]


def test_tabs_semicolons_and_a_byte_order_mark_are_read(read: Read) -> None:
    for text in (OPENAI_USAGE.replace(",", "\t"), "\ufeff" + OPENAI_USAGE.replace(",", ";")):
        assert len(read(text).lines) == 3


def test_a_line_is_numbered_where_it_begins(read: Read) -> None:
    invoice = read(HEAD + '2026-11-03,,"two\nlines",1,0,1\n' + "x,,m,1,0,1\n")

    assert [broken.number for broken in invoice.broken] == [4]


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n"])
def test_a_file_of_no_known_kind_says_which_columns_are_missed(read: Read, text: str) -> None:
    with pytest.raises(InvalidParameter, match="openai-costs"):
        read(text)


def test_a_named_kind_that_does_not_fit_is_said(read: Read) -> None:
    with pytest.raises(InvalidParameter, match="focus: chargeperiodstart, billedcost"):
        read(OPENAI_USAGE, "focus")
    with pytest.raises(InvalidParameter, match="known: auto"):
        read(OPENAI_USAGE, "other")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="cannot be read"):
        read_invoice(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("named", "meter"),
    [
        ("input_no_cache", Meter.INPUT),
        ("input_tokens", Meter.INPUT),
        ("cached input", Meter.CACHE_READ),
        ("input_cache_write_1h", Meter.CACHE_WRITE),
        ("cache_creation_5m", Meter.CACHE_WRITE),
        ("Cache Read Input Tokens", Meter.CACHE_READ),
        ("uncached_input", Meter.INPUT),
        ("output", Meter.OUTPUT),
        ("web search", Meter.SEARCHES),
        ("image output", Meter.IMAGE_OUTPUT),
        ("Generated Images", Meter.IMAGE_OUTPUT),
        ("image input", Meter.INPUT),
        ("Video Output Tokens", Meter.VIDEO_OUTPUT),
        ("citation_tokens", Meter.CITATIONS),
        ("storage", Meter.OTHER),
    ],
)
def test_meters_are_told_by_their_names(named: str, meter: Meter) -> None:
    assert _meter(named) is meter


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


@given(st.lists(st.lists(cells, min_size=6, max_size=6), max_size=6))
def test_no_row_is_lost_whatever_is_in_it(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "invoice.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(HEAD)
            csv.writer(file).writerows(rows)

        invoice = read_invoice(path)

    written = sum(1 for row in rows if any(cell.strip() for cell in row))
    told = {line.number for line in invoice.lines} | {broken.number for broken in invoice.broken}
    assert invoice.rows == written == len(told) + invoice.empty


def test_every_format_names_what_it_is_told_by() -> None:
    assert all(form.told_by and form.since for form in FORMS)
