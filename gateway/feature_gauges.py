"""Feature gauges: whose each feature is and what it promises, so that an alert finds its owner and its threshold."""

from collections.abc import Iterable
from typing import Final

from farthing.catalog import Feature
from gateway.cachebooks import caching_of
from gateway.cachedesk import CacheRules
from gateway.exposition import Family, Kind, Unit, value_lines

FEATURE_INFO: Final = Family(
    name="farthing_feature_info",
    kind=Kind.GAUGE,
    help="Always 1; the labels tell the team of each feature of the configuration.",
    labels=("feature", "team"),
)
MAX_WRONG: Final = Family(
    name="farthing_semantic_max_wrong_ratio",
    kind=Kind.GAUGE,
    help="Share of the requests looked up that the semantic cache may answer wrongly.",
    labels=("feature",),
    unit=Unit.RATIO,
)
FEATURE_GAUGES: Final = (FEATURE_INFO, MAX_WRONG)


def feature_lines(features: Iterable[Feature], rules: CacheRules) -> list[str]:
    """The gauges, for `Metrics.add_source`: one series a feature of each, of those without semantic cache the first
    only."""
    known = tuple(features)
    shares = [(name, one.max_wrong) for name, one in caching_of(known, rules).items()]
    return [
        *value_lines(FEATURE_INFO, [((one.name, one.team), 1) for one in known]),
        *value_lines(MAX_WRONG, [((name,), round(share * 1e6)) for name, share in shares if share is not None]),
    ]
