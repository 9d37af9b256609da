"""Tiers in the configuration: how deployments are chosen, and every mistake with its place and what to do."""

from pathlib import Path

import pytest

from farthing.catalog import Affinity, Balance, HealthCheck
from gateway.settings import load
from router_policies.breaker import BreakerRules
from tests.unit.test_settings_findings import findings_of

HEAD = "providers: {box: {kind: vllm}}\n"
FOOT = "features: {support: {}}\n"
TINY, BIG = "{provider: box, model: tiny}", "{provider: box, model: big}"


def load_text(directory: Path, text: str):  # type: ignore[no-untyped-def]
    """The settings of one file."""
    file = directory / "farthing.yaml"
    file.write_text(text)
    return load(file, {})


def test_a_tier_takes_turns_and_has_the_affinity_of_its_features_unless_it_says_otherwise(tmp_path: Path) -> None:
    tiers = f"""tiers:
  - {{name: small, deployments: [{TINY}]}}
  - {{name: large, balance: least_outstanding, affinity: none, deployments: [{BIG}]}}
"""

    small, large = load_text(tmp_path, HEAD + tiers + FOOT).catalog.tiers

    assert (small.balance, small.affinity) == (Balance.WEIGHTED, Affinity.AUTO)
    assert (large.balance, large.affinity) == (Balance.LEAST_OUTSTANDING, Affinity.NONE)


def test_the_breaker_has_the_documented_defaults_and_the_cooldown_of_its_section(tmp_path: Path) -> None:
    tiers = f"tiers: [{{name: small, deployments: [{TINY}]}}]\n"
    said = (
        "upstream: {cooldown: 9s, breaker: {failures: 2, error_rate: 12.5%, window: 1m, least_calls: 7, longest: 1h}}\n"
    )

    default = load_text(tmp_path, HEAD + tiers + FOOT).upstream.breaker
    given = load_text(tmp_path, HEAD + tiers + FOOT + said).upstream.breaker

    assert default == BreakerRules()
    assert given == BreakerRules(failures=2, error_rate=0.125, window_s=60, least_calls=7, cooldown_s=9, longest_s=3600)


@pytest.mark.parametrize(
    ("tiers", "finding"),
    [
        ("{name: a, deployments: []}", "2:32: tiers[0].deployments: the tier has no deployment; add one, or remove"),
        ("{name: a}", "2:9: tiers[0].deployments: is missing"),
        (f"{{name: a, deployments: [{TINY}, {TINY}]}}", "2:63: tiers[0].deployments[1]: the same model of the same"),
        (
            "{name: a, deployments: [{provider: box, model: tiny, weight: 0}]}",
            "2:70: tiers[0].deployments[0].weight: '0' is out of range; write a whole number from 1 to 1000",
        ),
        (
            f"{{name: a, balance: fastest, deployments: [{TINY}]}}",
            "2:28: tiers[0].balance: 'fastest' is not possible here; write one of weighted, least_outstanding",
        ),
        (
            f"{{name: a, affinity: on_key, deployments: [{TINY}]}}",
            "2:29: tiers[0].affinity: 'on_key' is not possible here; write one of none, auto, prompt",
        ),
    ],
)
def test_a_mistake_in_a_tier_is_told_with_its_place(tmp_path: Path, tiers: str, finding: str) -> None:
    found = findings_of(tmp_path, f"{HEAD}tiers: [{tiers}]\n{FOOT}")

    assert [one[: len(finding)] for one in found] == [finding]


@pytest.mark.parametrize(
    ("breaker", "finding"),
    [
        ("{failures: 0}", "upstream.breaker.failures: '0' is out of range;"),
        ("{error_rate: 0.5}", "upstream.breaker.error_rate: '0.5' is no share in per cent;"),
        ("{window: 0s}", "upstream.breaker.window: '0s' is out of range;"),
        ("{least_calls: many}", "upstream.breaker.least_calls: 'many' is not a whole number;"),
        ("{longest: 5}", "upstream.breaker.longest: '5' is not a duration;"),
        ("{cooldown: 5s}", "upstream.breaker.cooldown: there is no such setting"),
    ],
)
def test_a_mistake_in_the_breaker_is_told_with_its_place(tmp_path: Path, breaker: str, finding: str) -> None:
    tiers = f"tiers: [{{name: small, deployments: [{TINY}]}}]\n"

    (found,) = findings_of(tmp_path, f"{HEAD}{tiers}{FOOT}upstream: {{breaker: {breaker}}}\n")

    assert finding in found


THREE = """\
providers: {{box: {{kind: vllm}}}}
tiers:
  - name: small
    fallback: {small}
    deployments: [{{provider: box, model: tiny}}]
  - name: medium
    fallback: {medium}
    deployments: [{{provider: box, model: mid}}]
  - name: large
    fallback: {large}
    deployments: [{{provider: box, model: big}}]
features: {{support: {{}}}}
"""


def test_a_tier_may_fall_to_any_other(tmp_path: Path) -> None:
    tiers = load_text(tmp_path, THREE.format(small="large", medium="small", large="~")).catalog.tiers

    assert [tier.fallback for tier in tiers] == ["large", "small", ""]


@pytest.mark.parametrize(
    ("small", "medium", "large", "findings"),
    [
        ("lage", "~", "~", ["4:15: tiers[0].fallback: there is no tier 'lage'; did you mean 'large'?"]),
        ("small", "~", "~", ["4:15: tiers[0].fallback: tiers fall back in a circle (small -> small); let one of them"]),
        (
            "medium",
            "small",
            "~",
            ["4:15: tiers[0].fallback: tiers fall back in a circle (small -> medium -> small); let one of them"],
        ),
        (
            "medium",
            "large",
            "medium",
            ["7:15: tiers[1].fallback: tiers fall back in a circle (medium -> large -> medium); let one of them"],
        ),
        ("[large]", "~", "~", ["4:15: tiers[0].fallback: "]),
        ("7", "~", "~", ["4:15: tiers[0].fallback: "]),
    ],
)
def test_a_fallback_that_cannot_be_is_told_with_its_place(
    tmp_path: Path, small: str, medium: str, large: str, findings: list[str]
) -> None:
    found = findings_of(tmp_path, THREE.format(small=small, medium=medium, large=large))

    assert [one[: len(start)] for one, start in zip(found, findings, strict=True)] == findings


@pytest.mark.parametrize("tiers", ["[7]", "{fallback: x}", "[{fallback: large}]", "[[]]", "x"])
def test_tiers_of_the_wrong_shape_are_told_and_break_nothing(tmp_path: Path, tiers: str) -> None:
    assert findings_of(tmp_path, f"{HEAD}tiers: {tiers}\n{FOOT}")


def test_checks_of_health_are_off_until_it_is_said_how_often(tmp_path: Path) -> None:
    text = """\
providers:
  none-at-all: {kind: vllm}
  all: {kind: vllm, health: {every: 10s}}
  own: {kind: vllm, health: {path: /health, every: 1m}}
tiers:
  - name: t
    deployments: [{provider: none-at-all, model: m}, {provider: all, model: m}, {provider: own, model: m}]
features: {support: {}}
"""

    (tier,) = load_text(tmp_path, text).catalog.tiers

    assert [place.provider.health for place in tier.deployments] == [
        None,
        HealthCheck(path="models", every_s=10),
        HealthCheck(path="/health", every_s=60),
    ]


@pytest.mark.parametrize(
    ("kind", "health", "finding"),
    [
        ("vllm", "{path: /health}", "health.every: is missing; a path alone checks nothing, write every: 10s"),
        ("vllm", "{every: 1ms}", "health.every: '1ms' is out of range;"),
        ("vllm", "{every: 9s, path: chat/completions}", "health.path: 'chat/completions' is what models answer at,"),
        ("vllm", "{every: 9s, path: /v1/Embeddings}", "health.path: '/v1/Embeddings' is what models answer at,"),
        ("vllm", "{every: 9s, path: ../admin}", "health.path: '../admin' is not a path;"),
        ("vllm", "{every: 9s, path: a/../../b}", "health.path: 'a/../../b' is not a path;"),
        ("vllm", "{every: 9s, path: 'http://x/'}", "health.path: 'http://x/' is not a path;"),
        ("vllm", "{every: 9s, path: 'models?x=1'}", "health.path: 'models?x=1' is not a path;"),
        ("vllm", "{every: 9s, method: POST}", "health.method: there is no such setting"),
        ("anthropic, api_key: none", "{every: 9s}", "health: the kind anthropic is reached through litellm,"),
    ],
)
def test_a_check_of_health_that_cannot_be_is_told_with_its_place(
    tmp_path: Path, kind: str, health: str, finding: str
) -> None:
    tiers = f"tiers: [{{name: t, deployments: [{TINY}]}}]\n"

    (found,) = findings_of(tmp_path, f"providers: {{box: {{kind: {kind}, health: {health}}}}}\n{tiers}{FOOT}")

    assert found.startswith("1:")
    assert f" providers.box.{finding}" in found
