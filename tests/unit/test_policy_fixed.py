"""The policy fixed, and the registry of policies."""

from farthing.catalog import Catalog, Deployment, Feature, Provider, Tier
from farthing.routing import RouteQuestion
from router_policies.explain import explain
from router_policies.fixed import Fixed

PROVIDER = Provider(name="local", adapter="openai", base_url="http://127.0.0.1:1")
TIERS = tuple(
    Tier(name=name, rank=rank, deployments=(Deployment(name=name, provider=PROVIDER, model=name),))
    for rank, name in enumerate(("tiny", "large"))
)
CATALOG = Catalog(tiers=TIERS, tasks={}, features={}, models={}, aliases={}, default_tier="large", fingerprint="f")


def question(feature: Feature) -> RouteQuestion:
    return RouteQuestion(catalog=CATALOG, feature=feature, task=None, scorecards=(), now_ns=0)


def test_the_tier_of_the_feature_is_taken() -> None:
    choice = Fixed().choose(question(Feature(name="chat", policy="fixed", tier="tiny")))

    assert (choice.tier, choice.reason) == ("tiny", "fixed: tier tiny of feature chat")


def test_a_feature_that_names_no_tier_gets_the_default_one() -> None:
    choice = Fixed().choose(question(Feature(name="chat", policy="fixed")))

    assert choice.tier == "large"
    assert choice.reason == "fixed: feature chat names no tier, so the default one"


def test_the_explanation_says_which_tier_the_feature_names() -> None:
    lines = explain(question(Feature(name="chat", policy="fixed", tier="tiny")), Fixed()).lines()

    assert lines[:2] == ["-> tiny: named by the feature", "   large: not named by the feature"]
