"""Generations: from settings and scorecards to the one value that a request sees."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from farthing.routing import Demotion, Scorecard, SuiteVersion
from gateway.cachedesk import CacheRules
from gateway.destination import NO_SUITES, Destinations
from gateway.pricing import Pricing
from gateway.runtime import Generation
from gateway.settings import CacheSettings, Settings, UnregisteredFeatures
from gateway.settings.values import UnknownTasks
from gateway.taskdesk import counts_prompts
from ledger.amendments import UNAMENDED, Amendments
from ledger.budgets import BudgetBook
from ledger.prices import PriceBook
from router_policies.tasks import Resolver


def new_generation(
    settings: Settings,
    scorecards: tuple[Scorecard, ...],
    *,
    now_ns: int,
    demotions: tuple[Demotion, ...] = (),
    suites: Mapping[str, SuiteVersion] = NO_SUITES,
    amendments: Amendments = UNAMENDED,
    resolver: Resolver | None = None,
) -> Generation:
    """All that a reload replaces. Raises ConfigError for a price that cannot be used."""
    return Generation(
        keys=settings.keys,
        catalog=settings.catalog,
        count_unregistered=settings.unregistered_features is UnregisteredFeatures.COUNT,
        destinations=Destinations(settings.catalog, scorecards, now_ns, demotions=demotions, suites=suites),
        pricing=Pricing(PriceBook(settings.prices), settings.catalog),
        budgets=BudgetBook(settings.budgets, amendments),
        cache_rules=cache_rules_of(settings.cache),
        resolver=resolver,
        refuses_tasks=settings.tasks.unknown is UnknownTasks.REFUSE,
        counts_prompts=resolver is not None and counts_prompts(settings.catalog, settings.tasks),
    )


def cache_rules_of(cache: CacheSettings) -> CacheRules:
    """What holds where a feature says nothing."""
    return CacheRules(
        exact=cache.exact.enabled,
        semantic=cache.semantic.enabled,
        exact_ttl_s=cache.exact.ttl_s,
        semantic_ttl_s=cache.semantic.ttl_s,
        threshold=cache.semantic.threshold,
        max_wrong=cache.semantic.max_wrong,
        shadow_share=cache.semantic.shadow_share,
        judge=cache.semantic.judge,
        max_entry_bytes=cache.exact.max_entry_kb * 1024,
    )


_SERVER_AT_START: Final = (
    *("host", "port", "workers", "max_body_bytes", "max_header_bytes", "max_headers"),
    *("shutdown_grace_s", "keep_alive_s"),
)
_UPSTREAM_AT_START: Final = ("client", "max_connections", "ca_file", "proxy", "http2", "max_attempts")


def needs_restart(old: Settings, new: Settings) -> list[str]:
    """The changed settings, by their names in the YAML, that take effect at the next start only."""
    pairs: dict[str, tuple[Any, Any]] = {
        "data_dir": (old.data_dir, new.data_dir),
        "ledger.url": (old.ledger.url, new.ledger.url),
        "ledger.synchronous": (old.ledger.synchronous, new.ledger.synchronous),
        "logging": (old.logging, new.logging),
        "cache.url": (old.cache.url, new.cache.url),
        "cache.exact.memory_mb": (old.cache.exact.memory_mb, new.cache.exact.memory_mb),
        "cache.exact.disk_mb": (old.cache.exact.disk_mb, new.cache.exact.disk_mb),
        "cache.semantic.url": (old.cache.semantic.url, new.cache.semantic.url),
        "cache.semantic.deadline": (old.cache.semantic.deadline_ms, new.cache.semantic.deadline_ms),
        "cache.semantic.embedder": (_version(old), _version(new)),
        "cache.semantic.max_queue": (old.cache.semantic.max_queue, new.cache.semantic.max_queue),
    }
    pairs |= {
        f"upstream.{name}": (getattr(old.upstream, name), getattr(new.upstream, name)) for name in _UPSTREAM_AT_START
    }
    pairs["upstream.cooldown"] = (old.upstream.breaker.cooldown_s, new.upstream.breaker.cooldown_s)
    same_cooldown = replace(new.upstream.breaker, cooldown_s=old.upstream.breaker.cooldown_s)
    pairs["upstream.breaker"] = (old.upstream.breaker, same_cooldown)
    pairs |= {
        f"server.{name.removesuffix('_s')}": (getattr(old.server, name), getattr(new.server, name))
        for name in _SERVER_AT_START
    }
    if not old.cache.semantic.enabled:
        pairs["cache.semantic.enabled"] = (False, new.cache.semantic.enabled)
    return [name for name, (before, after) in pairs.items() if before != after]


def _version(settings: Settings) -> str:
    embedder = settings.cache.semantic.embedder
    return "" if embedder is None else embedder.version


def vanished(old: Settings, new: Settings) -> list[str]:
    """What a reload took away that protects or admits somebody: budgets, keys and features, for the log."""
    pairs = (
        ("budget", {budget.id for budget in old.budgets}, {budget.id for budget in new.budgets}),
        ("key", {key.id for key in old.keys.values()}, {key.id for key in new.keys.values()}),
        ("feature", set(old.catalog.features), set(new.catalog.features)),
    )
    return [f"{kind} '{name}'" for kind, before, after in pairs for name in sorted(before - after)]
