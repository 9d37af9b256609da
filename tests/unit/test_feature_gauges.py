"""Feature gauges: what alerts need to know of features."""

from dataclasses import replace
from pathlib import Path

from farthing.catalog import Feature
from gateway.cachedesk import CacheRules
from gateway.feature_gauges import feature_lines
from tests.gateway import running_gateway
from tests.unit.test_metrics_requests import make_metrics, value

RULES = CacheRules(
    exact=True, semantic=True, exact_ttl_s=60, semantic_ttl_s=60, threshold=0.5, max_entry_bytes=1024, max_wrong=0.005
)
CHAT = Feature(name="chat", team="web", semantic_cache=True)
STRICT = Feature(name="strict", semantic_cache=True, semantic_max_wrong=0.001)
PLAIN = Feature(name="plain", team="ops")


def page_of(rules: CacheRules) -> bytes:
    metrics = make_metrics()
    metrics.add_source(lambda: feature_lines([CHAT, STRICT, PLAIN], rules))
    return metrics.render()


def test_each_feature_has_its_team_and_the_share_of_wrong_answers_that_it_allows() -> None:
    page = page_of(RULES)

    assert value(page, "farthing_feature_info", feature="chat", team="web") == 1
    assert value(page, "farthing_feature_info", feature="strict", team="") == 1
    assert value(page, "farthing_semantic_max_wrong_ratio", feature="chat") == 0.005
    assert value(page, "farthing_semantic_max_wrong_ratio", feature="strict") == 0.001


def test_a_feature_without_semantic_cache_promises_nothing() -> None:
    off = page_of(replace(RULES, semantic=False))

    assert b'max_wrong_ratio{feature="plain"}' not in page_of(RULES)
    assert b"max_wrong_ratio{" not in off
    assert value(off, "farthing_feature_info", feature="plain", team="ops") == 1


async def test_a_gateway_tells_the_teams_of_its_configuration(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert await gateway.metric("farthing_feature_info", feature="chat", team="web") == 1
