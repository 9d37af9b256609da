"""Metrics: what a finished request adds, and that labels stay bounded."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage
from gateway.budget_gauges import BUDGET_GAUGES
from gateway.deployment_gauges import DEPLOYMENT_GAUGES
from gateway.drift_gauges import DRIFT_GAUGES
from gateway.feature_gauges import FEATURE_GAUGES
from gateway.ledger_gauges import LEDGER_GAUGES
from gateway.metric_families import COST_BUCKETS, COUNTERS, END, HISTOGRAMS
from gateway.metrics import GAUGES, Metrics, multiprocess_directory
from gateway.semantic_gauges import SEMANTIC_FAMILIES
from gateway.stores import CACHE_GAUGES
from gateway.tallies import ROW_SLOTS
from gateway.taskdesk import TASK_FAMILIES


class StoppedClock:
    """A clock that stands at one second after the epoch."""

    def wall_ns(self) -> int:
        return 10**9

    def monotonic(self) -> float:
        return 0.0


def make_metrics(directory: Path | None = None) -> Metrics:
    return Metrics(
        clock=StoppedClock(),
        features=["search"],
        tiers=["small"],
        models=["smol"],
        providers=["local"],
        version="1.2.3",
        directory=directory,
    )


def make_record(**changes: object) -> Record:
    values: dict[str, object] = {
        "id": "req-1",
        "tags": Tags(tenant="acme", key_id="k1", feature="search"),
        "endpoint": "chat/completions",
        "stream": False,
        "received_ns": 1,
        "outcome": Outcome.SUCCESS,
        "status": 200,
        "model_served": "smol",
        "provider": "local",
        "tier": "small",
        "cache": CacheOutcome.MISS,
        "usage": Usage(input_uncached=7, output=3),
        "cost": Nano(1_500),
        "seconds": 0.25,
        "first_byte_seconds": 0.05,
    }
    return Record(**(values | changes))  # type: ignore[arg-type]


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(page: bytes, name: str, **labels: str) -> float:
    """The sum of every series of that name that carries these labels."""
    return sum(
        number
        for (found, carried), number in samples(page).items()
        if found == name and labels.items() <= dict(carried).items()
    )


def test_a_success_adds_its_cost_tokens_and_one_request() -> None:
    metrics = make_metrics()

    metrics.observe(make_record())

    page = metrics.render()
    where = {"feature": "search", "model": "smol"}
    assert value(page, "farthing_cost_usd_total", **where, tier="small", category="inference") == 1.5e-6
    assert value(page, "farthing_tokens_total", **where, provider="local", type="input_uncached") == 7
    assert value(page, "farthing_tokens_total", **where, provider="local", type="output") == 3
    assert value(page, "farthing_requests_total", **where, tier="small", outcome="success") == 1
    assert value(page, "farthing_budget_decisions_total", feature="search", decision="allowed") == 1


def test_ten_million_costs_of_one_nano_dollar_are_not_rounded() -> None:
    metrics = make_metrics()

    metrics.observe(make_record(cost=Nano(10**18)))
    metrics.observe(make_record(cost=Nano(1)))

    line = next(x for x in metrics.render().decode().splitlines() if x.startswith("farthing_cost_usd_total{"))
    assert line.endswith(" 1000000000.000000001")


def test_both_kinds_of_cache_write_are_one_type_and_rare_tokens_are_counted() -> None:
    metrics = make_metrics()
    usage = Usage(cache_write_5m=1, cache_write_1h=2, reasoning=4, input_audio=8, output_audio=16, cache_read=32)

    metrics.observe(make_record(usage=usage))

    page = metrics.render()
    assert value(page, "farthing_tokens_total", type="cache_write") == 3
    assert value(page, "farthing_tokens_total", type="reasoning") == 4
    assert value(page, "farthing_tokens_total", type="input_audio") == 8
    assert value(page, "farthing_tokens_total", type="output_audio") == 16
    assert value(page, "farthing_tokens_total", type="cache_read") == 32
    assert value(page, "farthing_tokens_total") == usage.input_total + usage.output_total


def test_what_prompt_caches_saved_and_what_writing_to_them_cost_more_are_told_apart() -> None:
    metrics = make_metrics()
    usage = Usage(input_uncached=5, cache_read=1_000, cache_write_5m=100, cache_write_1h=10)
    rates = (
        '{"input_uncached":3000000000,"cache_read":300000000,"cache_write_5m":3750000000,"cache_write_1h":6000000000}'
    )

    metrics.observe(make_record(usage=usage, rates=rates))
    metrics.observe(make_record(usage=Usage(cache_read=7), rates="{}"))
    metrics.observe(make_record())

    page, where = metrics.render(), {"feature": "search", "provider": "local", "model": "smol"}
    assert value(page, "farthing_prompt_cache_saved_usd_total", **where) == 0.0027  # 1,000 x (3 - 0.3) USD / 1e6
    assert value(page, "farthing_prompt_cache_premium_usd_total", **where) == 0.000105  # 100 x 0.75 + 10 x 3


def test_a_call_that_a_cache_knows_in_part_is_a_partial_lookup_and_asks_the_budget() -> None:
    metrics = make_metrics()

    metrics.observe(make_record(cache=CacheOutcome.PARTIAL, avoided_cache=Nano(900)))

    page = metrics.render()
    assert value(page, "farthing_cache_lookups_total") == 1
    assert value(page, "farthing_cache_lookups_total", cache="exact", result="partial") == 1
    assert value(page, "farthing_avoided_cost_usd_total", cache="partial") == 9e-7
    assert value(page, "farthing_budget_decisions_total", decision="allowed") == 1


@pytest.mark.parametrize("kind", [CacheOutcome.EXACT, CacheOutcome.SEMANTIC, CacheOutcome.COALESCED])
def test_a_hit_counts_once_as_a_lookup_and_asks_no_budget(kind: CacheOutcome) -> None:
    metrics = make_metrics()

    metrics.observe(make_record(outcome=Outcome.HIT, cache=kind, cost=Nano(0), avoided_cache=Nano(900)))

    page = metrics.render()
    assert value(page, "farthing_cache_lookups_total") == 1
    assert value(page, "farthing_cache_lookups_total", cache=kind.value, result="hit") == 1
    assert value(page, "farthing_avoided_cost_usd_total", cache=kind.value) == 9e-7
    assert value(page, "farthing_budget_decisions_total") == 0


def test_a_refusal_by_a_budget_is_a_decision_and_no_cost_sample() -> None:
    metrics = make_metrics()

    metrics.observe(
        make_record(outcome=Outcome.REFUSED, status=402, error_code="budget_exceeded", cost=Nano(0), usage=Usage())
    )

    page = metrics.render()
    assert value(page, "farthing_budget_decisions_total", feature="search", decision="refused") == 1
    assert value(page, "farthing_request_cost_usd_count") == 0
    assert value(page, "farthing_request_duration_seconds_count") == 1


def test_an_unpriced_model_is_counted_under_its_provider() -> None:
    metrics = make_metrics()

    metrics.observe(make_record(outcome=Outcome.REFUSED, error_code="unpriced_model", model_served="new"))

    assert value(metrics.render(), "farthing_unpriced_requests_total", provider="local", model="__other__") == 1


def test_values_nobody_registered_make_one_series_however_many_there_are() -> None:
    metrics = make_metrics()

    for number in range(50):
        tags = Tags(tenant="acme", key_id="k1", feature=f"made-up-{number}")
        metrics.observe(make_record(tags=tags, model_served=f"m{number}", provider="x", tier=f"t{number}"))

    page = metrics.render()
    labels = {"feature": "unregistered", "model": "__other__", "tier": "__other__"}
    assert value(page, "farthing_requests_total", **labels) == 50
    assert b"made-up" not in page


def test_a_request_that_reached_no_model_says_none() -> None:
    metrics = make_metrics()

    metrics.observe(
        make_record(outcome=Outcome.REJECTED, model_served="", provider="", tier="", error_code="invalid_json")
    )

    assert value(metrics.render(), "farthing_requests_total", model="__none__", outcome="rejected") == 1


def test_a_feature_registered_at_a_reload_counts_under_its_name_and_old_ones_stay() -> None:
    metrics = make_metrics()

    metrics.register(features=["billing"])
    metrics.observe(make_record(tags=Tags(tenant="acme", key_id="k1", feature="billing")))
    metrics.observe(make_record())

    page = metrics.render()
    assert value(page, "farthing_requests_total", feature="billing") == 1
    assert value(page, "farthing_requests_total", feature="search") == 1


def test_an_amount_on_a_bucket_bound_counts_in_that_bucket() -> None:
    metrics = make_metrics()

    metrics.observe(make_record(cost=Nano(2_500), seconds=0.01))

    page = metrics.render()
    assert len(COST_BUCKETS) == 22
    assert value(page, "farthing_request_cost_usd_bucket", le="0.0000025") == 1
    assert value(page, "farthing_request_cost_usd_bucket", le="0.000001") == 0
    assert value(page, "farthing_request_duration_seconds_bucket", le="0.01") == 1


def test_gauges_tell_the_state_of_the_configuration_and_the_age_of_the_prices() -> None:
    metrics = make_metrics()

    metrics.note_config(ok=False, generation=4)
    metrics.note_prices(0)

    page = metrics.render()
    assert value(page, "farthing_config_ok") == 0
    assert value(page, "farthing_config_generation") == 4
    assert value(page, "farthing_price_catalog_age_seconds") == 1
    assert value(page, "farthing_build_info", version="1.2.3") == 1


def test_prices_of_an_unknown_day_have_no_age() -> None:
    metrics = make_metrics()

    metrics.note_prices(None)

    assert b"farthing_price_catalog_age_seconds" not in metrics.render()


def test_label_values_with_quotes_and_line_breaks_stay_one_line() -> None:
    metrics = make_metrics()
    odd = 'a"b\\c\nd'
    metrics.register(models=[odd])

    metrics.observe(make_record(model_served=odd))

    assert value(metrics.render(), "farthing_requests_total", model=odd) == 1


def test_every_slot_fits_into_a_row() -> None:
    assert END <= ROW_SLOTS


def test_two_processes_make_one_page(tmp_path: Path) -> None:
    directory = multiprocess_directory(tmp_path)
    code = (
        "import sys; from pathlib import Path; "
        "from tests.unit.test_metrics_requests import make_metrics, make_record\n"
        "metrics = make_metrics(Path(sys.argv[1]))\n"
        "for _ in range(3): metrics.observe(make_record())\n"
        "metrics.close()"
    )

    subprocess.run([sys.executable, "-c", code, str(directory)], check=True, cwd=Path(__file__).parents[2])
    metrics = make_metrics(directory)
    metrics.observe(make_record())

    page = metrics.render()
    metrics.close()
    assert value(page, "farthing_requests_total") == 4
    assert value(page, "farthing_cost_usd_total") == 4 * 1.5e-6
    assert value(page, "farthing_request_cost_usd_count") == 4


def test_a_start_forgets_what_earlier_workers_counted(tmp_path: Path) -> None:
    earlier = make_metrics(multiprocess_directory(tmp_path))
    earlier.observe(make_record())
    earlier.close()

    metrics = make_metrics(multiprocess_directory(tmp_path))

    page = metrics.render()
    metrics.close()
    assert value(page, "farthing_requests_total") == 0


def test_more_rows_than_a_chunk_holds_keep_their_counts(tmp_path: Path) -> None:
    features = [f"f{number}" for number in range(200)]
    metrics = make_metrics(multiprocess_directory(tmp_path))
    metrics.register(features=features)

    for _ in range(2):
        for feature in features:
            metrics.observe(make_record(tags=Tags(tenant="acme", key_id="k1", feature=feature)))

    counted = [number for (name, _), number in samples(metrics.render()).items() if name == "farthing_requests_total"]
    metrics.close()
    assert counted == [2] * len(features)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    metrics = make_metrics()
    metrics.observe(make_record(avoided_routing=Nano(5)))
    metrics.observe(make_record(outcome=Outcome.REFUSED, error_code="unpriced_model"))
    metrics.note_prices(0)

    found = subprocess.run(["promtool", "check", "metrics"], input=metrics.render(), capture_output=True, check=False)

    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_every_metric_is_documented_with_its_labels() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    text = page.read_text(encoding="utf-8")

    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| `farthing_")}

    for family in (
        *(f for f, _ in COUNTERS),
        *(h.family for h in HISTOGRAMS),
        *GAUGES,
        *BUDGET_GAUGES,
        *FEATURE_GAUGES,
        *LEDGER_GAUGES,
        *CACHE_GAUGES,
        *DEPLOYMENT_GAUGES,
        *DRIFT_GAUGES,
        *SEMANTIC_FAMILIES,
        *TASK_FAMILIES,
    ):
        row = rows[f"`{family.name}`"]
        assert all(f"`{label}`" in row for label in family.labels), family.name
        assert str(family.unit) in row, family.name


def test_what_thresholds_did_is_counted_beside_the_calls_and_as_no_request() -> None:
    metrics = make_metrics()

    metrics.note_decision("search", "downgrade")
    metrics.note_decision("search", "downgrade")
    metrics.note_decision("unheard-of", "cheapest")
    metrics.note_decision("", "notify")

    page = metrics.render()
    name = "farthing_budget_decisions_total"
    assert value(page, name, feature="search", decision="downgrade") == 2
    assert value(page, name, feature="unregistered", decision="cheapest") == 1
    assert value(page, name, feature="__none__", decision="notify") == 1
    assert b"farthing_requests_total{" not in page
    assert b"farthing_request_cost_usd_bucket" not in page
