"""Good trees: what the settings say, and that the shipped files load."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from farthing.catalog import Budget, Right, Window
from farthing.errors import ConfigError
from farthing.money import Nano
from gateway.generations import needs_restart
from gateway.settings import (
    MetricsAccess,
    Settings,
    UnregisteredFeatures,
    UpstreamClient,
    load,
    provider_from_environment,
)
from gateway.settings.demo import write_tree
from gateway.settings.providers import KINDS, NEWCOMERS

ROOT = Path(__file__).parents[2]
HASH_A, HASH_B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SHIPPED_ENV = {
    "OPENAI_API_KEY": "sk-from-environment",
    "FARTHING_SUPPORT_KEY_HASH": HASH_A,
    "FARTHING_PLATFORM_KEY_HASH": HASH_B,
}
BASE = """\
providers:
  openai: {kind: openai, api_key: "${OPENAI_API_KEY:-none}"}
  box: {kind: vllm}
tiers:
  - {name: small, deployments: [{provider: box, model: tiny-1, name: tiny}]}
  - {name: large, deployments: [{provider: openai, model: gpt-x}, {provider: box, model: gpt-x}]}
features: {support: {}}
"""


def load_text(directory: Path, text: str, env: dict[str, str] | None = None) -> Settings:
    file = directory / "farthing.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, env or {})


def test_a_tree_without_settings_of_its_own_has_the_defaults(tmp_path: Path) -> None:
    settings = load_text(tmp_path, BASE)

    assert settings.server.port == 4141
    assert settings.server.max_body_bytes == 33_554_432
    assert settings.server.metrics_access is MetricsAccess.LOOPBACK
    assert settings.data_dir == Path(".farthing")
    assert (settings.cache.semantic.threshold, settings.cache.semantic.max_wrong) == (0.5, 0.005)
    assert (settings.cache.semantic.shadow_share, settings.cache.semantic.judge) == (0.05, "")
    assert settings.upstream.max_attempts == 3
    assert settings.upstream.client is UpstreamClient.RELAY
    assert (settings.upstream.ca_file, settings.upstream.proxy, settings.upstream.http2) == (None, "", False)
    assert settings.unregistered_features is UnregisteredFeatures.REFUSE
    assert settings.catalog.default_tier == "large"
    assert settings.files == (tmp_path / "farthing.yaml",)


def test_models_are_the_names_of_deployments_and_those_declared_outside_tiers(tmp_path: Path) -> None:
    settings = load_text(tmp_path, BASE + "models: {embed: [{provider: box, model: minilm}]}\n")

    models = {
        name: [deployment.id for deployment in deployments] for name, deployments in settings.catalog.models.items()
    }
    assert models == {
        "tiny": ["box/tiny-1"],
        "gpt-x": ["openai/gpt-x", "box/gpt-x"],
        "embed": ["box/minilm"],
    }


def test_auto_is_an_alias_of_itself_beside_those_declared(tmp_path: Path) -> None:
    settings = load_text(tmp_path, BASE + "aliases: {gpt-4o-mini: auto, fast: tier/small}\n")

    assert dict(settings.catalog.aliases) == {"auto": "auto", "gpt-4o-mini": "auto", "fast": "tier/small"}


def test_tiers_are_ranked_in_the_order_of_the_file(tmp_path: Path) -> None:
    settings = load_text(tmp_path, BASE)

    assert [(tier.name, tier.rank) for tier in settings.catalog.tiers] == [("small", 0), ("large", 1)]


@pytest.mark.parametrize("written", ["0.1", '"0.1"', "'0.1'", "0.10"])
def test_money_is_read_from_its_text_and_exact(tmp_path: Path, written: str) -> None:
    settings = load_text(
        tmp_path,
        BASE + f"budgets: [{{id: b, limit_usd: {written}, window: day, where: {{feature: support}}}}]\n"
        f"prices: [{{provider: box, model: m, input_per_mtok: {written}, output_per_mtok: 0.000000001}}]\n",
    )

    budget = Budget(id="b", limit=Nano(100_000_000), window=Window.DAY, where=(("feature", "support"),))
    assert settings.budgets == (budget,)
    assert settings.prices[0].input_per_mtok == Decimal("0.1")
    assert settings.prices[0].output_per_mtok == Decimal("0.000000001")


@pytest.mark.parametrize(
    ("written", "seconds"), [("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("24h", 86400.0), ("1.5s", 1.5)]
)
def test_a_duration_has_a_unit(tmp_path: Path, written: str, seconds: float) -> None:
    settings = load_text(tmp_path, BASE + f"server: {{keep_alive: {written}}}\n")

    assert settings.server.keep_alive_s == seconds


def test_a_key_is_known_by_the_digest_of_its_hash_and_ends_at_the_start_of_a_day(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        BASE + f"keys: [{{id: k, hash: '{HASH_A}', tenant: t, feature: support, rights: [call, admin], "
        "expires: 2027-01-01}]\n",
    )

    key = settings.keys[b"\xaa" * 32]
    assert (key.id, key.tenant, key.feature) == ("k", "t", "support")
    assert key.rights == {Right.CALL, Right.ADMIN}
    assert key.expires_ns == int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 10**9


def test_a_free_price_is_zero_because_it_says_so(tmp_path: Path) -> None:
    settings = load_text(tmp_path, BASE + "prices: [{provider: box, model: m, free: true}]\n")

    assert settings.prices[0].input_per_mtok == settings.prices[0].output_per_mtok == 0


def test_a_model_has_a_price_for_each_service_tier_and_context_size(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        BASE
        + "prices:\n  - {provider: box, model: m, per_request: 1}\n"
        + "  - {provider: box, model: m, per_request: 2, above_input_tokens: 200000}\n"
        + "  - {provider: box, model: m, per_request: 3, service_tier: flex, cached_audio_per_mtok: 0.5,"
        + " input_per_mtok: 1, output_per_mtok: 2, per_web_search: 0.01}\n",
    )

    assert [(price.service_tier, price.above_input_tokens) for price in settings.prices] == [
        ("", 0),
        ("", 200_000),
        ("flex", 0),
    ]
    assert settings.prices[2].cached_audio_per_mtok == Decimal("0.5")
    assert settings.prices[2].per_web_search == Decimal("0.01")


def test_a_price_may_name_a_provider_or_its_price_list(tmp_path: Path) -> None:
    rates = "input_per_mtok: 1, output_per_mtok: 2"
    settings = load_text(
        tmp_path,
        BASE.replace("box: {kind: vllm}", "box: {kind: vllm}\n  doors: {kind: gemini, api_key: none}")
        + f"prices:\n  - {{provider: doors, model: m, {rates}}}\n  - {{provider: google, model: l, {rates}}}\n"
        + f"  - {{provider: box, model: o, {rates}}}\n",
    )

    assert [price.provider for price in settings.prices] == ["google", "google", "box"]


def test_a_provider_takes_from_its_kind_what_it_does_not_say(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        "upstream: {timeouts: {connect: 2s}}\n"
        "providers:\n"
        "  cloud:\n"
        "    kind: azure\n"
        "    base_url: https://name.openai.azure.com/openai/v1/\n"
        "    api_key: ${KEY}\n"
        "    headers: {x-team: platform}\n"
        "    timeouts: {idle: 9s}\n"
        "    quirks: {query: api-version=preview, cap_escapes: [best_of]}\n"
        "tiers: [{name: one, deployments: [{provider: cloud, model: m}]}]\n",
        {"KEY": "secret-value"},
    )

    provider = settings.catalog.tiers[0].deployments[0].provider
    assert provider.base_url == "https://name.openai.azure.com/openai/v1"
    assert (provider.api_key, provider.headers) == ("secret-value", (("x-team", "platform"),))
    assert (provider.quirks.key_header, provider.quirks.key_scheme) == ("api-key", "")
    assert (provider.quirks.query, provider.quirks.cap_escapes) == ("api-version=preview", ("best_of",))
    assert (provider.timeouts.connect, provider.timeouts.idle, provider.timeouts.total) == (2.0, 9.0, 600.0)
    assert provider.price_provider == "azure"


def test_the_client_of_the_calling_side_may_have_a_proxy_http_2_and_authorities(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        BASE + "upstream: {client: pyreqwest, proxy: 'http://gate:${PASSWORD}@proxy.example:3128', http2: true, "
        "ca_file: certs/ca.pem}\n",
        {"PASSWORD": "hunter2"},
    )

    assert settings.upstream.client is UpstreamClient.PYREQWEST
    assert settings.upstream.proxy == "http://gate:hunter2@proxy.example:3128"
    assert (settings.upstream.http2, settings.upstream.ca_file) == (True, Path("certs/ca.pem"))
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("client", ["relay", "pyreqwest"])
def test_no_proxy_is_wanted_where_it_says_none(tmp_path: Path, client: str) -> None:
    settings = load_text(tmp_path, BASE + f"upstream: {{client: {client}, proxy: '${{PROXY:-none}}'}}\n")

    assert settings.upstream.proxy == ""


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("client", "pyreqwest"),
        ("max_connections", "9"),
        ("ca_file", "ca.pem"),
        ("proxy", "'http://proxy:1'"),
        ("http2", "true"),
        ("max_attempts", "9"),
        ("cooldown", "9s"),
        ("breaker", "{failures: 9}"),
    ],
)
def test_what_the_calling_side_takes_up_at_a_start_only_is_named(tmp_path: Path, name: str, written: str) -> None:
    client = "" if name == "client" else "client: pyreqwest, "
    before = load_text(tmp_path, BASE + f"upstream: {{{client or 'http2: false'}}}\n")
    after = load_text(tmp_path, BASE + f"upstream: {{{client}{name}: {written}}}\n")

    assert needs_restart(before, after) == [f"upstream.{name}"]
    assert needs_restart(after, after) == []


EMBEDDER = """
features: {{farthing-cache: {{}}}}
budgets: [{{id: e, limit_usd: 1, window: day, where: {{feature: farthing-cache}}}}]
cache: {{semantic: {{embedder: {{provider: {provider}, model: {model}, dimensions: 64}}}}}}
providers: {{one: {{kind: vllm, api_key: "${{KEY:-none}}", timeouts: {{connect: 1s, total: 1h}}}}}}
tiers: [{{name: t, deployments: [{{provider: one, model: m}}]}}]
"""


def test_an_embedder_of_a_provider_has_its_key_and_gives_up_in_ten_seconds(tmp_path: Path) -> None:
    file = tmp_path / "farthing.yaml"
    file.write_text(EMBEDDER.format(provider="one", model="e"))

    settings = load(file, {"KEY": "secret"})

    embedder = settings.cache.semantic.embedder
    assert embedder is not None
    assert (embedder.dimension, embedder.place.model, embedder.place.provider.api_key) == (64, "e", "secret")
    assert (embedder.place.provider.timeouts.connect, embedder.place.provider.timeouts.total) == (1, 10)
    assert [place.model for place in settings.deployments] == ["m", "e"]


def test_another_embedder_needs_a_restart_and_another_key_for_it_does_not(tmp_path: Path) -> None:
    file = tmp_path / "farthing.yaml"
    file.write_text(EMBEDDER.format(provider="one", model="e"))
    before, other_key = load(file, {"KEY": "a"}), load(file, {"KEY": "b"})
    file.write_text(EMBEDDER.format(provider="one", model="f"))
    other_model = load(file, {"KEY": "a"})

    assert needs_restart(before, other_key) == []
    assert needs_restart(before, other_model) == ["cache.semantic.embedder"]


def test_sections_may_stand_in_any_file_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "a.yaml").write_text("server: {port: 5000}\nbudgets:\n  # none yet\n", encoding="utf-8")
    (tmp_path / ".hidden.yaml").write_text("nonsense: true\n", encoding="utf-8")

    settings = load(tmp_path, {})

    assert settings.server.port == 5000
    assert settings.budgets == ()
    assert [file.name for file in settings.files] == ["a.yaml", "b.yaml"]


def test_an_empty_feature_takes_every_default(tmp_path: Path) -> None:
    settings = load_text(tmp_path, BASE.replace("{support: {}}", "\n  support:\n  billing:\n"))

    assert set(settings.catalog.features) == {"support", "billing"}
    assert settings.catalog.features["support"].exact_cache
    assert not settings.catalog.features["support"].semantic_cache


def test_a_feature_may_have_a_budget_for_wrong_answers_of_its_own(tmp_path: Path) -> None:
    cache = "{semantic: true, max_wrong: 1.25%, threshold: 0.9}"
    settings = load_text(tmp_path, BASE.replace("{support: {}}", f"{{support: {{cache: {cache}}}}}"))

    feature = settings.catalog.features["support"]
    assert (feature.semantic_max_wrong, feature.semantic_threshold) == (0.0125, 0.9)


def test_the_fingerprint_changes_with_the_meaning_and_not_with_comments_or_secrets(tmp_path: Path) -> None:
    first = load_text(tmp_path, BASE, {"OPENAI_API_KEY": "one"})
    same = load_text(tmp_path, "# a comment\n" + BASE, {"OPENAI_API_KEY": "two"})
    routed = load_text(tmp_path, BASE + "aliases: {a: auto}\n")
    served = load_text(tmp_path, BASE + "server: {port: 1}\n")

    assert same.fingerprint == first.fingerprint
    assert same.sources_digest != first.sources_digest
    assert routed.catalog.fingerprint != first.catalog.fingerprint
    assert served.fingerprint != first.fingerprint
    assert served.catalog.fingerprint == first.catalog.fingerprint


def test_no_secret_is_in_the_repr_of_settings(tmp_path: Path) -> None:
    settings = load_text(tmp_path, BASE, {"OPENAI_API_KEY": "sk-hidden"})

    assert "sk-hidden" not in repr(settings)


def test_the_shipped_tree_loads() -> None:
    settings = load(ROOT / "config", SHIPPED_ENV)

    assert [tier.name for tier in settings.catalog.tiers] == ["small", "medium", "large"]
    assert len(settings.keys) == 2
    assert settings.evals.valid_for_s == 14 * 86400


@pytest.mark.parametrize("environment", [{}, {"OPENAI_API_KEY": "sk-hidden", "GROQ_API_KEY": "gsk-hidden"}])
def test_the_demo_tree_loads_without_anything_in_the_environment(tmp_path: Path, environment: dict[str, str]) -> None:
    joined = write_tree(tmp_path, environment, "http://127.0.0.1:1", "http://127.0.0.1:2/v1", HASH_A)

    settings = load(tmp_path, {})

    names = [found.name for found in joined]
    assert names == (["groq", "openai"] if environment else [])
    assert [tier.name for tier in settings.catalog.tiers] == ["tiny", "reference", *names]
    assert settings.catalog.default_tier == "reference"
    assert settings.catalog.tiers[0].deployments[0].provider.base_url == "http://127.0.0.1:1/v1"
    assert settings.catalog.models["minilm-l6"][0].provider.base_url == "http://127.0.0.1:2/v1"
    assert settings.keys[b"\xaa" * 32].rights == {Right.CALL, Right.ADMIN}
    assert {"playground", "support", "evals", "capped"} <= set(settings.catalog.features)
    assert all("hidden" not in file.read_text(encoding="utf-8") for file in settings.files)


def test_the_demo_tree_prices_every_local_deployment(tmp_path: Path) -> None:
    write_tree(tmp_path, {}, "http://127.0.0.1:1", "http://127.0.0.1:2", HASH_A)

    settings = load(tmp_path, {})

    priced = {(price.provider, price.model) for price in settings.prices}
    deployments = [one for several in settings.catalog.models.values() for one in several]
    assert {(one.provider.price_provider, one.model) for one in deployments} == priced


def test_a_provider_joins_only_when_its_key_is_set_and_not_empty() -> None:
    found = provider_from_environment({"OPENAI_API_KEY": "", "XAI_API_KEY": "x", "MISTRAL_API_KEY": "m"})

    assert [(one.name, one.variable) for one in found] == [("xai", "XAI_API_KEY"), ("mistral", "MISTRAL_API_KEY")]


def test_every_kind_is_priced_under_a_provider_of_the_packaged_list() -> None:
    from genai_prices.data import providers

    known = {provider.id for provider in providers}

    assert {kind.price_provider for kind in KINDS.values() if kind.price_provider} <= known


def test_newcomers_are_priced_by_the_packaged_list_and_ordered_cheapest_first() -> None:
    from genai_prices import Usage, calc_price

    moment = datetime(2026, 11, 20, 2, tzinfo=UTC)  # a weekday in DeepSeek's dearer hours
    usage = Usage(input_tokens=1000, output_tokens=1_000_000)

    prices = [
        calc_price(usage, model, provider_id=KINDS[name].price_provider, genai_request_timestamp=moment).output_price
        for name, model in NEWCOMERS.items()
    ]

    assert prices == sorted(prices)
    assert min(prices) > 0


def test_thresholds_the_most_of_a_run_and_the_webhook_are_read(tmp_path: Path) -> None:
    file = tmp_path / "farthing.yaml"
    file.write_text(
        BUDGETED + "alerts: {webhook_url: '${HOOK}', timeout: 2s}\n"
        "budgets:\n"
        "  - id: runs\n    limit_usd: 0.5\n    max_run_usd: 5\n    window: run\n    per: [run]\n"
        "    thresholds: [{at: 0.5, do: notify}, {at: 0.85, do: cheapest}]\n"
    )

    settings = load(file, {"HOOK": "https://hooks.example/T0/secret?token=hush"})

    (budget,) = settings.budgets
    assert (budget.limit, budget.max_run) == (500_000_000, 5_000_000_000)
    assert [(one.percent, one.do.value) for one in budget.thresholds] == [("50%", "notify"), ("85%", "cheapest")]
    assert settings.alerts.webhook_url == "https://hooks.example/T0/secret?token=hush"
    assert settings.alerts.timeout_s == 2
    assert "hush" not in repr(settings.alerts)


@pytest.mark.parametrize("address", ["hooks.example", "ftp://hooks.example/x", "https://a:b@hooks.example", "http://"])
def test_a_webhook_that_is_no_address_is_found_without_showing_it(tmp_path: Path, address: str) -> None:
    file = tmp_path / "farthing.yaml"
    file.write_text(BUDGETED + "alerts: {webhook_url: '${HOOK}'}\n")

    with pytest.raises(ConfigError, match="the variable holds no address") as caught:
        load(file, {"HOOK": address})

    assert address not in str(caught.value)


BUDGETED = """\
providers: {box: {kind: vllm}}
tiers: [{name: small, deployments: [{provider: box, model: tiny}]}]
"""
