"""Build: the frozen settings from a tree that has passed every check."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Final

from farthing.catalog import (
    Affinity,
    AnswerCheck,
    Balance,
    Budget,
    CacheAccess,
    Catalog,
    Deployment,
    Feature,
    HangUp,
    HealthCheck,
    Measure,
    OutputBound,
    PolicyRule,
    PriceOverride,
    PromptCache,
    Provider,
    Replay,
    Right,
    Step,
    Task,
    Threshold,
    Tier,
    Timeouts,
    VirtualKey,
    Window,
)
from farthing.money import nano_from_usd
from farthing.tasksigns import Reading, TaskSigns, Turns
from gateway.settings.forms import (
    RATES,
    BudgetForm,
    CacheForm,
    EmbedderForm,
    EvalsForm,
    KeyForm,
    LedgerForm,
    PriceForm,
    ServerForm,
    UpstreamForm,
)
from gateway.settings.providers import KINDS
from gateway.settings.references import AUTO
from gateway.settings.routing_forms import (
    CheckForm,
    FeatureForm,
    ModelDeploymentForm,
    PolicyForm,
    ProviderForm,
    TaskForm,
    TierForm,
    TreeForm,
)
from gateway.settings.scalars import day_ns
from gateway.settings.sources import Source, digest
from gateway.settings.task_forms import TaskResolutionForm
from gateway.settings.tree import Tree
from gateway.settings.values import (
    AlertSettings,
    CacheSettings,
    EmbedderSettings,
    EvalSchedule,
    EvalSettings,
    ExactCacheSettings,
    LedgerSettings,
    LoggingSettings,
    MetricsAccess,
    PromptCounting,
    SemanticCacheSettings,
    ServerSettings,
    Settings,
    TaskSettings,
    UnknownTasks,
    UnregisteredFeatures,
    UpstreamClient,
    UpstreamSettings,
)
from router_policies.breaker import BreakerRules

EMBEDDING_S: Final = 10.0
"""Longest that an answer with vectors for the semantic cache is waited for: by then nobody has any use for it."""
_ROUTING: Final = (
    "providers",
    "upstream",
    "tiers",
    "models",
    "aliases",
    "tasks",
    "policies",
    "features",
    "default_tier",
)


def build(form: TreeForm, tree: Tree, sources: Sequence[Source]) -> Settings:
    """The settings of a checked tree."""
    timeouts = Timeouts(**form.upstream.timeouts.model_dump())
    providers = {name: _provider(name, one, timeouts) for name, one in form.providers.items()}
    return Settings(
        server=_server(form.server),
        data_dir=Path(form.data_dir),
        ledger=_ledger(form.ledger),
        cache=_cache(form.cache, providers),
        upstream=_upstream(form.upstream, timeouts),
        logging=LoggingSettings(level=form.logging.level, format=form.logging.format),
        unregistered_features=UnregisteredFeatures(form.unregistered_features),
        tasks=_tasks(form.task_resolution, tree),
        catalog=_catalog(form, providers, tree),
        keys=MappingProxyType({key.sha256: key for key in map(_key, form.keys)}),
        budgets=tuple(map(_budget, form.budgets)),
        alerts=AlertSettings(webhook_url=form.alerts.webhook_url or "", timeout_s=form.alerts.timeout),
        prices=tuple(_price(one, providers) for one in form.prices),
        evals=EvalSettings(
            feature=form.evals.feature,
            suites=Path(form.evals.suites),
            concurrency=form.evals.concurrency,
            allow_code=form.evals.allow_code,
            valid_for_s=form.evals.valid_for or None,
            budget=None if form.evals.budget_usd is None else nano_from_usd(form.evals.budget_usd),
            scorecards_dir=Path(form.evals.scorecards_dir) if form.evals.scorecards == "files" else None,
            base_url=form.evals.base_url or "",
            schedule=_eval_schedule(form.evals),
        ),
        files=tuple(source.path for source in sources),
        fingerprint=tree.fingerprint(sorted(tree.data)),
        sources_digest=digest(sources),
    )


def _eval_schedule(form: EvalsForm) -> EvalSchedule | None:
    if form.schedule.every is None or form.schedule.budget_usd is None or form.api_key_env is None:
        return None
    return EvalSchedule(
        every_s=form.schedule.every, budget=nano_from_usd(form.schedule.budget_usd), api_key_env=form.api_key_env
    )


def _server(form: ServerForm) -> ServerSettings:
    return ServerSettings(
        host=form.host,
        port=form.port,
        workers=form.workers,
        max_body_bytes=form.max_body_bytes,
        max_header_bytes=form.max_header_bytes,
        max_headers=form.max_headers,
        metrics_access=MetricsAccess(form.metrics_access),
        shutdown_grace_s=form.shutdown_grace,
        keep_alive_s=form.keep_alive,
    )


def _ledger(form: LedgerForm) -> LedgerSettings:
    return LedgerSettings(
        synchronous=form.synchronous,
        url=form.url or "",
        retention_s=form.retention or None,
        archive=None if form.archive is None else Path(form.archive),
    )


def _cache(form: CacheForm, providers: Mapping[str, Provider]) -> CacheSettings:
    exact, semantic = form.exact, form.semantic
    return CacheSettings(
        url=form.url or "",
        exact=ExactCacheSettings(
            enabled=exact.enabled,
            memory_mb=exact.memory_mb,
            disk_mb=exact.disk_mb,
            ttl_s=exact.ttl,
            max_entry_kb=exact.max_entry_kb,
        ),
        semantic=SemanticCacheSettings(
            enabled=semantic.enabled,
            url=semantic.url or "",
            max_wrong=semantic.max_wrong,
            threshold=semantic.threshold,
            ttl_s=semantic.ttl,
            deadline_ms=semantic.deadline * 1000,
            embedder=_embedder(semantic.embedder, providers),
            max_queue=semantic.max_queue,
            shadow_share=semantic.shadow_share,
            judge=semantic.judge.model or "",
        ),
    )


def _embedder(form: EmbedderForm, providers: Mapping[str, Provider]) -> EmbedderSettings | None:
    if form.provider is None or form.model is None or form.dimensions is None:
        return None
    provider = providers[form.provider]
    waits = {name: min(seconds, EMBEDDING_S) for name, seconds in asdict(provider.timeouts).items()}
    place = Deployment(name=form.model, provider=replace(provider, timeouts=Timeouts(**waits)), model=form.model)
    return EmbedderSettings(place=place, dimension=form.dimensions, shorten=form.shorten)


def _upstream(form: UpstreamForm, timeouts: Timeouts) -> UpstreamSettings:
    return UpstreamSettings(
        client=UpstreamClient(form.client),
        max_connections=form.max_connections,
        ca_file=None if form.ca_file is None else Path(form.ca_file),
        proxy=form.proxy or "",
        http2=form.http2,
        timeouts=timeouts,
        max_attempts=form.max_attempts,
        breaker=BreakerRules(
            failures=form.breaker.failures,
            error_rate=form.breaker.error_rate,
            window_s=form.breaker.window,
            least_calls=form.breaker.least_calls,
            cooldown_s=form.cooldown,
            longest_s=form.breaker.longest,
        ),
    )


def _provider(name: str, form: ProviderForm, timeouts: Timeouts) -> Provider:
    kind = KINDS[form.kind]
    return Provider(
        name=name,
        adapter=kind.adapter,
        base_url=form.base_url or kind.base_url,
        api_key=form.api_key or "",
        headers=tuple(form.headers.items()),
        price_provider=form.price_provider or kind.price_provider or name,
        quirks=form.quirks.over(kind.quirks),
        timeouts=form.timeouts.over(timeouts),
        health=HealthCheck(path=form.health.path, every_s=form.health.every) if form.health.every else None,
    )


def _catalog(form: TreeForm, providers: Mapping[str, Provider], tree: Tree) -> Catalog:
    tiers = tuple(_tier(rank, one, providers) for rank, one in enumerate(form.tiers))
    models = {
        name: tuple(_deployment(name, one, providers) for one in deployments)
        for name, deployments in form.models.items()
    }
    return Catalog(
        tiers=tiers,
        tasks=MappingProxyType({name: _task(name, one, tree) for name, one in form.tasks.items()}),
        features=MappingProxyType({name: _feature(name, one, form.policies) for name, one in form.features.items()}),
        models=MappingProxyType(_by_name(tiers) | models),
        aliases=MappingProxyType({AUTO: AUTO, **form.aliases}),
        default_tier=form.default_tier or (tiers[-1].name if tiers else ""),
        fingerprint=tree.fingerprint(_ROUTING),
    )


def _by_name(tiers: Iterable[Tier]) -> dict[str, tuple[Deployment, ...]]:
    """Deployments by the name that clients use; one name may have deployments in several tiers."""
    found: dict[str, tuple[Deployment, ...]] = {}
    for tier in tiers:
        for deployment in tier.deployments:
            others = found.get(deployment.name, ())
            if deployment.id not in {other.id for other in others}:
                found[deployment.name] = (*others, deployment)
    return found


def _tier(rank: int, form: TierForm, providers: Mapping[str, Provider]) -> Tier:
    deployments = tuple(_deployment(one.client_name, one, providers) for one in form.deployments)
    return Tier(
        name=form.name,
        rank=rank,
        deployments=deployments,
        balance=Balance(form.balance),
        affinity=Affinity(form.affinity),
        fallback=form.fallback or "",
    )


def _deployment(name: str, form: ModelDeploymentForm, providers: Mapping[str, Provider]) -> Deployment:
    return Deployment(
        name=name,
        provider=providers[form.provider],
        model=form.model,
        weight=form.weight,
        context_window=form.context_window,
        max_output_tokens=form.max_output_tokens,
    )


def _task(name: str, form: TaskForm, tree: Tree) -> Task:
    examples = _beside(tree, ("tasks", name, "examples"), form.examples)
    return Task(
        name=name,
        bar=form.bar or Decimal(0),
        margin=form.margin,
        reference=form.reference,
        candidates=tuple(form.candidates),
        check=_check(form.check),
        live=form.live.rule,
        signs=TaskSigns(
            system_prompts=frozenset(one.removeprefix("sha256:") for one in form.system_prompts),
            rules=tuple(one.rule for one in form.match),
            examples="" if examples is None else str(examples),
        ),
    )


def _tasks(form: TaskResolutionForm, tree: Tree) -> TaskSettings:
    return TaskSettings(
        reading=Reading(system=Turns(form.system_messages), user=Turns(form.user_messages)),
        unknown=UnknownTasks(form.unknown),
        counting=PromptCounting(form.count_prompts),
        classifier=None if form.classifier is None else Path(form.classifier),
        other_examples=_beside(tree, ("task_resolution", "examples"), form.examples),
        deadline_s=form.deadline,
    )


def _beside(tree: Tree, place: tuple[str, ...], file: str | None) -> Path | None:
    """The file of a file:// reference, seen from the file in which it is written."""
    return None if file is None else Path(tree.place(place).file).parent / file.removeprefix("file://")


def _check(form: CheckForm) -> AnswerCheck:
    return AnswerCheck(
        json=form.form == "json",
        regex=form.regex or "",
        min_chars=form.min_chars,
        max_chars=form.max_chars,
        refusal=form.refusal,
    )


def _rule(form: PolicyForm, declared: Mapping[str, PolicyForm]) -> PolicyRule:
    """A declared policy with all that it asks."""
    then = None if form.then is None else _named_rule(form.then, declared)
    return PolicyRule(
        kind=form.kind,
        p95_s=inf if form.p95 is None else form.p95,
        measure=Measure(form.of),
        full_at=form.full_at,
        items=form.items,
        tier=form.tier or "",
        share=form.share,
        then=then,
    )


def _named_rule(name: str, declared: Mapping[str, PolicyForm]) -> PolicyRule:
    return _rule(declared[name], declared) if name in declared else PolicyRule(kind=name)


def _feature(name: str, form: FeatureForm, policies: Mapping[str, PolicyForm]) -> Feature:
    return Feature(
        name=name,
        team=form.team or "",
        task=form.task or "",
        policy=form.policy,
        rule=_named_rule(form.policy, policies),
        tier=form.tier or "",
        override_model=form.override_model,
        exact_cache=form.cache.exact,
        semantic_cache=form.cache.semantic,
        semantic_threshold=form.cache.threshold,
        semantic_max_wrong=form.cache.max_wrong,
        cache_ttl_s=form.cache.ttl,
        replay=Replay(form.cache.replay),
        cache_tags=tuple(sorted(set(form.cache.tags))),
        max_output_tokens=form.max_output_tokens,
        on_hang_up=HangUp(form.on_hang_up),
        output_bound=OutputBound(form.output_bound),
        prompt_cache=PromptCache(form.prompt_cache),
    )


def _key(form: KeyForm) -> VirtualKey:
    return VirtualKey(
        id=form.id,
        sha256=bytes.fromhex(form.hash.removeprefix("sha256:")),
        tenant=form.tenant,
        feature=form.feature or "",
        task=form.task or "",
        environment=form.environment or "",
        team=form.team or "",
        features=frozenset(form.features),
        rights=frozenset(map(Right, form.rights)),
        cache=CacheAccess(form.cache),
        expires_ns=None if form.expires is None else day_ns(form.expires),
    )


def _budget(form: BudgetForm) -> Budget:
    return Budget(
        id=form.id,
        limit=nano_from_usd(form.limit_usd),
        window=Window(form.window),
        where=tuple(form.where.items()),
        per=tuple(form.per),
        timezone=form.timezone,
        thresholds=tuple(Threshold(at=one.at, do=Step(one.do)) for one in form.thresholds),
        max_run=None if form.max_run_usd is None else nano_from_usd(form.max_run_usd),
    )


def _price(form: PriceForm, providers: Mapping[str, Provider]) -> PriceOverride:
    known = {one.price_provider for one in providers.values()}
    by_name = form.provider not in known and form.provider in providers
    rates = {name: getattr(form, name) for name in RATES}
    if form.free:
        rates |= {"input_per_mtok": Decimal(0), "output_per_mtok": Decimal(0)}
    return PriceOverride(
        provider=providers[form.provider].price_provider if by_name else form.provider,
        model=form.model,
        service_tier=form.service_tier or "",
        above_input_tokens=form.above_input_tokens,
        valid_from_ns=0 if form.valid_from is None else day_ns(form.valid_from),
        source=form.source or "",
        reason=form.reason or "",
        **rates,
    )
