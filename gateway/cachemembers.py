"""Cache members: cache books for JSON, and as the lines of a table."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cache.published import FeatureReport, Interval
from farthing.money import format_usd
from farthing.ports import Store
from gateway.cachebooks import CacheBooks, Effect, FeatureBooks
from gateway.periods import moment_of

HEADS: Final = ("feature", "cache", "requests", "hits", "hit_rate", "saved_usd", "own_cost_usd", "net_usd")
QUALITY_HEADS: Final = (
    *("feature", "looked_up", "hits", "graded", "wrong", "undecided"),
    *("wrong_per_request", "max_wrong", "verdict", "wrong_per_hit", "domains"),
)


def books_members(books: CacheBooks, *, since_ns: int, until_ns: int) -> dict[str, Any]:
    """The books for JSON; amounts as exact decimal text, shares as numbers from 0 to 1."""
    return {
        "since": moment_of(since_ns).isoformat(),
        "until": moment_of(until_ns).isoformat(),
        "features": [_feature_members(one) for one in books.features],
        "total": _effect_members(books.whole),
        "unassigned_cost_usd": format_usd(books.unassigned),
    }


def _feature_members(books: FeatureBooks) -> dict[str, Any]:
    return {
        "feature": books.feature,
        **_effect_members(books.whole),
        "bypassed": books.bypassed,
        "caches": {kind.value: _effect_members(effect) for kind, effect in books.effects.items()},
        "semantic": None if books.quality is None and books.max_wrong is None else _quality_members(books),
    }


def _effect_members(effect: Effect) -> dict[str, Any]:
    return {
        "requests": effect.requests,
        "hits": effect.hits,
        "partial": effect.partial,
        "hit_rate": None if effect.rate is None else round(effect.rate, 6),
        "saved_usd": format_usd(effect.saved),
        "own_cost_usd": format_usd(effect.own_cost),
        "net_usd": format_usd(effect.net),
    }


def _quality_members(books: FeatureBooks) -> dict[str, Any]:
    found = books.quality
    domains = [
        {"tenant": one.tenant, "environment": one.environment, "state": one.state.value, "compared": one.compared}
        for one in books.domains
    ]
    members: dict[str, Any] = {"max_wrong": books.max_wrong, "domains": domains}
    if found is None:
        return {**members, "looked_up": 0}
    return {
        **members,
        "looked_up": found.requests,
        "hits": found.hits,
        "conservative_hits": found.conservative_hits,
        "graded": found.graded,
        "wrong": found.wrong,
        "undecided": found.undecided_hits,
        "wrong_per_request": _interval_members(found, found.wrong_per_request),
        "wrong_per_hit": _interval_members(found, found.wrong_per_hit),
        "verdict": None if books.verdict is None else books.verdict.value,
    }


def _interval_members(found: FeatureReport, interval: Interval) -> Mapping[str, float] | None:
    """None where nothing was graded: nobody knows."""
    if not found.graded:
        return None
    return {name: round(getattr(interval, name), 6) for name in ("estimate", "low", "high")}


async def store_members(store: Store) -> dict[str, Any]:
    """What lies in the store of the exact cache, or why that is not known: the rest is worth telling all the same."""
    try:
        entries, size = await store.size()
    except Exception as error:  # noqa: BLE001 - whatever a store raises
        return {"problem": type(error).__name__}
    return {"entries": entries, "bytes": size}


# --- tables --------------------------------------------------------------------------------------


def lines(books: CacheBooks) -> Iterator[tuple[str, ...]]:
    """A line for each cache of each feature, then one for all, under `HEADS`, for people."""
    for feature, cache, effect in _effects(books):
        rate = "-" if effect.rate is None else f"{effect.rate:.1%}"
        yield feature, cache, f"{effect.requests:,}", f"{effect.hits:,}", rate, *_amounts(effect)


def bare_lines(books: CacheBooks) -> Iterator[tuple[str, ...]]:
    """The same for programs: numbers without marks, and the rate from 0 to 1."""
    for feature, cache, effect in _effects(books):
        rate = "" if effect.rate is None else f"{effect.rate:.6f}"
        yield feature, cache, str(effect.requests), str(effect.hits), rate, *_amounts(effect)


def _effects(books: CacheBooks) -> Iterator[tuple[str, str, Effect]]:
    for feature in books.features:
        for kind, effect in feature.effects.items():
            yield feature.feature, kind.value, effect
    if books.unassigned:
        yield "(unknown)", "semantic", Effect(own_cost=books.unassigned)
    yield "total", "", books.whole


def _amounts(effect: Effect) -> tuple[str, ...]:
    return tuple(map(format_usd, (effect.saved, effect.own_cost, effect.net)))


def quality_lines(books: CacheBooks) -> Iterator[tuple[str, ...]]:
    """A line for each feature that uses the semantic cache or has used it, under `QUALITY_HEADS`."""
    for feature in books.features:
        found = feature.quality
        budget = "off" if feature.max_wrong is None else share(feature.max_wrong)
        if found is None:
            if feature.max_wrong is not None:
                yield feature.feature, *("0",) * 5, "-", budget, "-", "-", "-"
            continue
        counts = (found.requests, found.hits, found.graded, found.wrong, found.undecided_hits)
        yield (
            feature.feature,
            *(f"{count:,}" for count in counts),
            interval_text(found, found.wrong_per_request),
            budget,
            feature.verdict or "-",
            interval_text(found, found.wrong_per_hit),
            states(feature) or "-",
        )


def interval_text(found: FeatureReport, interval: Interval) -> str:
    """`0.12% (0.05–0.31%)`; a word where nothing was graded."""
    if not found.graded:
        return "not graded"
    return f"{share(interval.estimate)} ({share(interval.low).removesuffix('%')}–{share(interval.high)})"


def share(part: float) -> str:
    """Per cent with two decimals, without those that are zero."""
    text = f"{100 * part:.2f}".rstrip("0").rstrip(".")
    return f"{text}%"


def states(feature: FeatureBooks) -> str:
    """How many of a feature's domains are in each state, such as `2 calibrated, 1 stopped`."""
    found = Counter(one.state.value for one in feature.domains)
    return ", ".join(f"{count} {state}" for state, count in sorted(found.items()))
