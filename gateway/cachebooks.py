"""Cache books: what each cache did for each feature, and what that saved after what it cost itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Final

from cache.published import DomainState, FeatureReport
from farthing.call import Endpoint
from farthing.catalog import Feature
from farthing.money import ZERO, Nano
from farthing.record import CacheOutcome
from farthing.tags import CACHE, SHADOW
from gateway.asides import OF_CACHES, feature_of
from gateway.cachedesk import CacheRules
from ledger.database import Database
from ledger.promptsavings import PromptSavings, prompt_savings
from ledger.reports import SpendRow, spend_in

MOST_RECORDS: Final = 200_000
"""Requests up to which a page has the records read for what prompt caches saved: 0.4 s of CPU."""
_MOST_GROUPS: Final = 100_000


class Kind(StrEnum):
    """The caches. `coalesced` is what identical calls under way answered; `embedding` all of `/v1/embeddings`."""

    EXACT = "exact"
    COALESCED = "coalesced"
    SEMANTIC = "semantic"
    EMBEDDING = "embedding"
    PROMPT = "prompt_cache"
    """The provider's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one cache did: `hits` of the `requests` that asked it, `partial` more in part; nano-dollars `saved`, and
    what it cost itself."""

    requests: int = 0
    hits: int = 0
    partial: int = 0
    saved: Nano = ZERO
    own_cost: Nano = ZERO

    @property
    def rate(self) -> float | None:
        """Hits of all that asked, None where nobody did."""
        return self.hits / self.requests if self.requests else None

    @property
    def net(self) -> Nano:
        """Nano-dollars saved after its own cost; less than nothing where that is more."""
        return Nano(self.saved - self.own_cost)


class Verdict(StrEnum):
    """What an interval of wrong answers says of their budget."""

    WITHIN = "within budget"
    """All of it is."""
    UNCLEAR = "too few to tell"
    """The budget lies in it."""
    OVER = "over budget"
    """All of it is above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureBooks:
    """One feature. `asked` requests of the period looked in the gateway's caches, which `bypassed` others did not.

    `quality` and `domains` are what the semantic cache knows of itself since its file was begun; `max_wrong` is the
    budget that holds now, None where the feature does not use it."""

    feature: str
    asked: int = 0
    bypassed: int = 0
    effects: Mapping[Kind, Effect] = field(default_factory=dict)
    quality: FeatureReport | None = None
    domains: tuple[DomainState, ...] = ()
    max_wrong: float | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Whether the budget of wrong answers was held, None where there is none or nothing was graded."""
        if self.max_wrong is None or self.quality is None or not self.quality.graded:
            return None
        found = self.quality.wrong_per_request
        if found.high <= self.max_wrong:
            return Verdict.WITHIN
        return Verdict.OVER if found.low > self.max_wrong else Verdict.UNCLEAR

    @property
    def whole(self) -> Effect:
        """All caches together. Calls that a provider's cache made cheaper are no hits: only their money counts."""
        effects = self.effects.values()
        return Effect(
            requests=self.asked,
            hits=sum(one.hits for kind, one in self.effects.items() if kind is not Kind.PROMPT),
            partial=sum(one.partial for one in effects),
            saved=Nano(sum(one.saved for one in effects)),
            own_cost=Nano(sum(one.own_cost for one in effects)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheBooks:
    """The features that asked a cache, most requests first. `unassigned` is what proof has cost of which no feature is
    known; `prompts_left_out`: too many records to read for what providers' prompt caches saved."""

    features: tuple[FeatureBooks, ...]
    unassigned: Nano
    prompts_left_out: bool = False

    @property
    def whole(self) -> Effect:
        """All features together."""
        found = [one.whole for one in self.features]
        return Effect(
            requests=sum(one.requests for one in found),
            hits=sum(one.hits for one in found),
            partial=sum(one.partial for one in found),
            saved=Nano(sum(one.saved for one in found)),
            own_cost=Nano(sum(one.own_cost for one in found) + self.unassigned),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """What a feature uses: the exact cache; the semantic one within a budget of wrong answers, None for not at all."""

    exact: bool
    max_wrong: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticFigures:
    """What the semantic cache publishes of itself."""

    reports: Sequence[FeatureReport] = ()
    domains: Sequence[DomainState] = ()


def caching_of(features: Iterable[Feature], rules: CacheRules) -> dict[str, Caching]:
    """What each feature uses, by its name."""
    return {
        one.name: Caching(
            exact=one.exact_cache and rules.exact,
            max_wrong=_max_wrong(one, rules) if one.semantic_cache and rules.semantic else None,
        )
        for one in features
    }


def _max_wrong(feature: Feature, rules: CacheRules) -> float:
    return rules.max_wrong if feature.semantic_max_wrong is None else feature.semantic_max_wrong


def read_cache_books(
    database: Database,
    figures: SemanticFigures,
    caching: Mapping[str, Caching],
    *,
    since_ns: int,
    until_ns: int,
    most_records: int | None = None,
) -> CacheBooks:
    """The books of the requests received in [since_ns, until_ns): money and counts from the ledger, wrong answers from
    the semantic cache. Above `most_records` requests records are not read, so that prompt caches are left out.

    Blocks. Raises LedgerUnavailable."""
    with database.reading() as session:
        ask = partial(spend_in, session, since_ns=since_ns, until_ns=until_ns, limit=_MOST_GROUPS)
        rows = ask(by=("feature", "endpoint", "cache"))
        asides = [row for own in (SHADOW, CACHE) for row in ask(by=("task",), where={"feature": own, "key": own})]
    requests = sum(row.requests for row in rows)
    left_out = most_records is not None and requests > most_records and _uses_prompt_caches(rows)
    asks = not left_out and _uses_prompt_caches(rows)
    prompts = prompt_savings(database, since_ns=since_ns, until_ns=until_ns) if asks else []
    costs = _costs(asides)
    names = {row.keys[0] for row in rows} | {report.feature for report in figures.reports} | set(costs)
    found = [
        _of_feature(
            name,
            [row for row in rows if row.keys[0] == name],
            [one for one in prompts if one.feature == name],
            costs.get(name, ZERO),
            figures,
            caching.get(name),
        )
        for name in names - {""}
    ]
    told = [one for one in found if one.effects or one.asked]
    return CacheBooks(
        features=tuple(sorted(told, key=lambda one: (-one.asked, one.feature))),
        unassigned=costs.get("", ZERO),
        prompts_left_out=left_out,
    )


def _uses_prompt_caches(rows: Iterable[SpendRow]) -> bool:
    return any(row.usage.cache_read or row.usage.cache_write_5m or row.usage.cache_write_1h for row in rows)


def _costs(asides: Iterable[SpendRow]) -> dict[str, Nano]:
    """What the gateway's own calls for the caches cost by the feature that they were made for; under "" where none is
    named."""
    costs: dict[str, Nano] = {}
    for row in asides:
        purpose, named, _ = row.keys[0].partition(":")
        if named and purpose not in OF_CACHES:
            continue
        feature = feature_of(row.keys[0])
        costs[feature] = Nano(costs.get(feature, ZERO) + row.cost)
    return costs


def _of_feature(
    name: str,
    rows: Sequence[SpendRow],
    prompts: Sequence[PromptSavings],
    own_cost: Nano,
    figures: SemanticFigures,
    caching: Caching | None,
) -> FeatureBooks:
    quality = next((one for one in figures.reports if one.feature == name), None)
    uses = caching or Caching(exact=True, max_wrong=None)  # it is gone: the usual, by what it asked
    texts = [row for row in rows if row.keys[1] != Endpoint.EMBEDDINGS]
    vectors = [row for row in rows if row.keys[1] == Endpoint.EMBEDDINGS]
    effects = {
        Kind.EXACT: _effect(texts, CacheOutcome.EXACT),
        Kind.COALESCED: _effect(texts, CacheOutcome.COALESCED),
        Kind.SEMANTIC: _effect(texts, CacheOutcome.SEMANTIC, own_cost=own_cost),
        Kind.EMBEDDING: _embedding_effect(vectors),
        Kind.PROMPT: _prompt_effect(prompts),
    }
    used = {Kind.EXACT: uses.exact, Kind.COALESCED: False, Kind.SEMANTIC: uses.max_wrong is not None}
    shown = {
        kind: effect
        for kind, effect in effects.items()
        if effect.hits or effect.saved or effect.own_cost or (effect.requests and used.get(kind, True))
    }
    asked = _requests(row for row in rows if row.keys[2] != CacheOutcome.BYPASS)
    return FeatureBooks(
        feature=name,
        asked=asked,
        bypassed=_requests(rows) - asked,
        effects=shown,
        quality=quality,
        domains=tuple(sorted((one for one in figures.domains if one.feature == name), key=_place)),
        max_wrong=uses.max_wrong,
    )


_place: Final = attrgetter("tenant", "environment")


def _requests(rows: Iterable[SpendRow]) -> int:
    return sum(row.requests for row in rows)


def _effect(rows: Sequence[SpendRow], *outcomes: CacheOutcome, own_cost: Nano = ZERO) -> Effect:
    hits = [row for row in rows if row.keys[2] in outcomes]
    return Effect(
        requests=_requests(row for row in rows if row.keys[2] != CacheOutcome.BYPASS),
        hits=_requests(hits),
        saved=Nano(sum(row.avoided_cache for row in hits)),
        own_cost=own_cost,
    )


def _embedding_effect(rows: Sequence[SpendRow]) -> Effect:
    """Whatever the outcome: a call that asks for one input twice saves money also where nothing was known."""
    whole = _effect(rows, CacheOutcome.EXACT, CacheOutcome.COALESCED)
    partial = _requests(row for row in rows if row.keys[2] == CacheOutcome.PARTIAL)
    return replace(whole, partial=partial, saved=Nano(sum(row.avoided_cache for row in rows)))


def _prompt_effect(prompts: Iterable[PromptSavings]) -> Effect:
    found = list(prompts)
    return Effect(
        requests=sum(one.calls for one in found),
        hits=sum(one.reads for one in found),
        saved=Nano(sum(one.saved for one in found)),
        own_cost=Nano(sum(one.premium for one in found)),
    )
