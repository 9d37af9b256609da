"""Forms of the sections that route calls, and of the whole tree: providers, tiers, models, tasks, features."""

import re
from typing import Annotated, Final

from pydantic import model_validator

from farthing.catalog import Affinity, Balance, CacheWire, Measure, PromptCache, Quirks, Replay, Timeouts
from gateway.settings import scalars
from gateway.settings.forms import (
    AlertsForm,
    BudgetForm,
    CacheForm,
    EvalsForm,
    Form,
    KeyForm,
    LedgerForm,
    LoggingForm,
    MaxWrong,
    PriceForm,
    ServerForm,
    Ttl,
    UpstreamForm,
    Wait,
    required,
    setting,
)
from gateway.settings.live_forms import LiveForm
from gateway.settings.providers import KINDS
from gateway.settings.scalars import (
    ClientModel,
    ExamplesFile,
    Flag,
    HeaderName,
    HeaderValue,
    Model,
    Name,
    Pattern,
    PromptHash,
    Ratio,
    Secret,
    Share,
    Tag,
    Text,
    Url,
    fault,
)
from gateway.settings.task_forms import MOST_RULES, RuleForm, TaskResolutionForm

_HEALTH_PATH: Final = re.compile(r"/?(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)*")
_PAID: Final = frozenset({"completions", "embeddings", "responses", "messages", "generate", "rerank"})
MOST_CACHE_TAGS: Final = 16
PARAMETERS: Final = {
    "budget_aware": ("then", "full_at"),
    "canary": ("then", "items"),
    "cascade": ("then", "tier"),
    "latency_bound": ("then", "p95", "of"),
    "shadow": ("tier", "share"),
}
"""The kinds that can be declared, and what each of them takes."""
Tokens = Annotated[int, scalars.whole(1, 10**8)]


class ProviderTimeoutsForm(Form):
    """Waiting times of one provider; what is not given comes from `upstream.timeouts`."""

    connect: Wait | None = setting(None, "For the connection.")
    first_byte: Wait | None = setting(None, "For the first byte of the answer.")
    idle: Wait | None = setting(None, "Between two parts of an answer.")
    total: Wait | None = setting(None, "For the whole answer.")

    def over(self, defaults: Timeouts) -> Timeouts:
        """These times where given, else the defaults."""
        return Timeouts(
            connect=self.connect or defaults.connect,
            first_byte=self.first_byte or defaults.first_byte,
            idle=self.idle or defaults.idle,
            total=self.total or defaults.total,
        )


class HealthForm(Form):
    """A GET now and then, which must cost nothing."""

    path: Text = setting(
        "models", "Path below base_url; with a leading slash below the root of the server, such as /health."
    )
    every: Annotated[float, scalars.duration("1s", "1h")] | None = setting(
        None, "How often to ask, such as 10s; without it there are no checks."
    )

    @model_validator(mode="after")
    def _check(self) -> "HealthForm":
        if not _HEALTH_PATH.fullmatch(self.path):
            raise fault("{given} is not a path; write one such as models or /health, without a query", "path")
        if _PAID.intersection(self.path.lower().split("/")):
            raise fault("{given} is what models answer at, and may cost money; write a path such as models", "path")
        if self.every is None and "path" in self.model_fields_set:
            raise fault("is missing; a path alone checks nothing, write every: 10s beside it", "every")
        return self


class QuirksForm(Form):
    """Where one provider departs from its kind; what is not given comes from the kind."""

    output_cap_field: Annotated[str, scalars.choice("max_tokens", "max_completion_tokens")] | None = setting(
        None, "Field of a chat request that caps the output."
    )
    stream_usage: Flag | None = setting(None, "Whether it understands stream_options.include_usage.")
    path_prefix: Text | None = setting(
        None,
        "Path between base_url and the operation; for adapter litellm its name for the provider.",
    )
    query: Text | None = setting(None, "Query of every request, such as api-version=2024-10-21.")
    key_header: HeaderName | None = setting(None, "Header that carries the key.")
    key_scheme: Text | None = setting(None, "Word before the key in that header, such as Bearer; none for no word.")
    cap_escapes: list[Text] | None = setting(
        None,
        "Its own fields that can change which model is billed, or the output cap; calls that carry one are refused.",
    )
    usage_covers_choices: Flag | None = setting(
        None, "Whether its usage counts every choice where n is above 1; if not, it is estimated."
    )
    base64_embeddings: Flag | None = setting(None, "Whether it sends vectors as base64 where asked to.")
    prompt_cache: Annotated[str, scalars.choice(*CacheWire)] | None = setting(
        None,
        "How it is told to keep the beginning of a prompt: by cache_control marks, by a prompt_cache_key, or none.",
    )

    def over(self, defaults: Quirks) -> Quirks:
        """These quirks where given, else the defaults."""
        scheme = {None: defaults.key_scheme, "none": ""}.get(self.key_scheme, f"{self.key_scheme} ")
        return Quirks(
            output_cap_field=self.output_cap_field or defaults.output_cap_field,
            stream_usage=defaults.stream_usage if self.stream_usage is None else self.stream_usage,
            path_prefix=self.path_prefix or defaults.path_prefix,
            query=self.query or defaults.query,
            key_header=(self.key_header or defaults.key_header).lower(),
            key_scheme=scheme,
            cap_escapes=defaults.cap_escapes if self.cap_escapes is None else tuple(self.cap_escapes),
            usage_covers_choices=(
                defaults.usage_covers_choices if self.usage_covers_choices is None else self.usage_covers_choices
            ),
            base64_embeddings=defaults.base64_embeddings if self.base64_embeddings is None else self.base64_embeddings,
            prompt_cache=defaults.prompt_cache if self.prompt_cache is None else CacheWire(self.prompt_cache),
        )


class ProviderForm(Form):
    """One provider; its kind fills in what is not given."""

    kind: Annotated[str, scalars.choice(*KINDS)] = required("What it speaks; see the table of kinds.")
    base_url: Url | None = setting(None, "Address above the operations; it usually ends in /v1.")
    api_key: Secret | None = setting(None, "${NAME} of an environment variable, or none.")
    headers: dict[HeaderName, HeaderValue] = setting({}, "Further headers of every request to it.")
    price_provider: Tag | None = setting(
        None, "Provider id under which prices are looked up; local kinds use the provider's own name."
    )
    timeouts: ProviderTimeoutsForm = setting({}, "Waiting times of this provider.")
    health: HealthForm = setting({}, "Checks of its health, for tiers with a choice of deployments; off by default.")
    quirks: QuirksForm = setting({}, "Departures from what is known of the kind.")

    @model_validator(mode="after")
    def _check(self) -> "ProviderForm":
        kind = KINDS[self.kind]
        if self.health.every is not None and kind.adapter != "openai":
            raise fault(f"the kind {self.kind} is reached through litellm, which has none; delete it", "health")
        if kind.needs_base_url and self.base_url is None:
            raise fault(f"is missing; the kind {self.kind} has no address of its own, write base_url", "base_url")
        if kind.key_variable and self.api_key is None:
            raise fault(f"is missing; write api_key: ${{{kind.key_variable}}}, or none", "api_key")
        # learn.microsoft.com/azure/foundry/openai/api-version-lifecycle: only the v1 surface works without it.
        if (
            self.kind == "azure"
            and "/deployments" in (self.base_url or "")
            and "api-version=" not in (self.quirks.query or "")
        ):
            raise fault(
                "needs a version; add quirks: {query: api-version=2024-10-21}, or use .../openai/v1", "base_url"
            )
        return self


class ModelDeploymentForm(Form):
    """One model at one provider."""

    provider: Name = required("Provider under `providers:`.")
    model: Model = required("Model as it is sent to the provider.")
    weight: Annotated[int, scalars.whole(1, 1000)] = setting(
        1, "Share of the calls among the deployments of its tier or model."
    )
    context_window: Tokens | None = setting(None, "Most tokens of input and output together.")
    max_output_tokens: Tokens | None = setting(None, "Most output tokens of one answer.")


class DeploymentForm(ModelDeploymentForm):
    """One model at one provider, as part of a tier."""

    name: ClientModel | None = setting(None, "Model name that clients use; the same as `model` if not given.")

    @property
    def client_name(self) -> str:
        """The name that clients use."""
        return self.name or self.model


class TierForm(Form):
    """One step of the ladder."""

    name: Name = required("Name of the tier; clients may send tier/NAME as a model.")
    deployments: list[DeploymentForm] = required("The models of the tier; the next one is tried where one fails.")
    balance: Annotated[str, scalars.choice(*Balance)] = setting(
        "weighted",
        "Which one is tried first. weighted: they take turns by weight. least_outstanding: the one with the fewest "
        "calls under way for its weight.",
    )
    affinity: Annotated[str, scalars.choice(*Affinity)] = setting(
        "auto",
        "Whether calls with the same prompt prefix go to the same deployment, for its prompt cache. auto: those of "
        "features with prompt_cache: auto. prompt: all. none: no.",
    )
    fallback: Name | None = setting(
        None,
        "Tier that answers where none of the deployments does, if it is trusted with the task. Without one such calls "
        "fail.",
    )

    @model_validator(mode="after")
    def _check(self) -> "TierForm":
        if not self.deployments:
            raise fault("the tier has no deployment; add one, or remove the tier", "deployments")
        return self


class CheckForm(Form):
    """What every answer to a task looks like, as far as that can be told without a model."""

    form: Annotated[str, scalars.choice("text", "json")] = setting("text", "json: a JSON value, and nothing around it.")
    regex: Pattern | None = setting(None, "This pattern (RE2) is found in its first 8,192 characters.")
    min_chars: Annotated[int, scalars.whole(0, 10**6)] = setting(0, "Least characters of its text.")
    max_chars: Annotated[int, scalars.whole(1, 10**6)] | None = setting(None, "Most characters of its text.")
    refusal: Flag = setting(True, "Whether a text that opens like a refusal is a fault.")

    @model_validator(mode="after")
    def _check(self) -> "CheckForm":
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise fault("{given} is below min_chars; no text has such a length", "max_chars")
        return self


class TaskForm(Form):
    """One kind of task."""

    bar: Share | None = setting(None, "Least share of a suite that a tier must get right, above 0 up to 1.")
    margin: Share | None = setting(None, "Most that a tier may be worse than the reference, such as 0.03.")
    reference: Name = required("The tier that is trusted, and answers until a cheaper one has passed.")
    candidates: list[Name] = setting([], "Cheaper tiers that may take over once they have passed.")
    check: CheckForm = setting({}, "What every answer looks like, for cascades.")
    live: LiveForm = setting({}, "How the answers of the task's routed calls are watched.")
    system_prompts: list[PromptHash] = setting(
        [], "Requests with one of these system prompts are of the task; `farthing tasks hash` prints the hash of one."
    )
    match: list[RuleForm] = setting([], "Requests that fit one of these rules are of the task; the first of all wins.")
    examples: ExamplesFile | None = setting(
        None, "Labelled requests of the task, file://NAME.jsonl, from which `farthing tasks train` learns."
    )

    @model_validator(mode="after")
    def _check(self) -> "TaskForm":
        if len(self.match) > MOST_RULES:
            raise fault(f"there are more than {MOST_RULES} rules; join those that are alike", "match")
        if self.bar is None and self.margin is None:
            raise fault("give `bar`, `margin` or both: what does a tier have to show?", "bar")
        return self


class PolicyForm(Form):
    """A policy with parameters, which features name."""

    kind: Annotated[str, scalars.choice(*PARAMETERS)] = required("Which policy; docs/routing.md tells of each.")
    then: Name | None = setting(
        None,
        "The policy that it asks: one declared here, or a kind that needs no parameters; else cheapest_passing.",
    )
    p95: Wait | None = setting(None, "latency_bound: the longest 95th percentile of a tier that may answer.")
    of: Annotated[str, scalars.choice(*Measure)] = setting(
        "total", "latency_bound: of which time, to the first_byte or in total."
    )
    full_at: Annotated[float, scalars.percent("1%", "100%")] = setting(
        "20%",
        "budget_aware: how far ahead of its window a budget's spend is when the cheapest tier that passes answers.",
    )
    items: Annotated[int, scalars.whole(1, 100_000)] = setting(50, "canary: graded answers for each step.")
    tier: Name | None = setting(
        None, "cascade: the candidate that answers first; shadow: the one that is asked. Else the cheapest of the task."
    )
    share: Annotated[float, scalars.percent("0.01%", "100%")] = setting(
        "5%", "shadow: share of the calls for which the candidate is asked besides."
    )

    @model_validator(mode="after")
    def _check(self) -> "PolicyForm":
        for name in sorted(self.model_fields_set - {"kind", *PARAMETERS[self.kind]}):
            raise fault(f"the kind {self.kind} does not use it; delete the line", name)
        if "p95" in PARAMETERS[self.kind] and self.p95 is None:
            raise fault("is missing; write p95: with a duration, such as 2s", "p95")
        return self


class FeatureCacheForm(Form):
    """What the caches may do for a feature."""

    exact: Flag = setting(True, "Answer repeated requests from the exact cache.")
    semantic: Flag = setting(False, "Answer paraphrases from the semantic cache.")
    max_wrong: MaxWrong | None = setting(
        None, "Share of wrong answers for this feature; else cache.semantic.max_wrong."
    )
    threshold: Ratio | None = setting(None, "Least cosine for this feature; else cache.semantic.threshold.")
    ttl: Ttl | None = setting(None, "Age limit for this feature; else that of the cache.")
    replay: Annotated[str, scalars.choice(*Replay)] = setting(
        "instant",
        "A stored answer for a stream. instant: all at once. paced: bit by bit, in the time that its provider took, a "
        "minute at most.",
    )
    tags: list[Tag] = setting(
        [], "Names by which the feature's answers can be purged, besides those of a call; 16 at most."
    )

    @model_validator(mode="after")
    def _check(self) -> "FeatureCacheForm":
        if len(self.tags) > MOST_CACHE_TAGS:
            raise fault(f"there are more than {MOST_CACHE_TAGS} tags; keep those that you purge by", "tags")
        return self


class FeatureForm(Form):
    """One registered feature."""

    team: Tag | None = setting(None, "Team to which the feature's calls are booked.")
    task: Tag | None = setting(None, "Task of the feature's calls that name none.")
    policy: Name = setting(
        "cheapest_passing",
        "cheapest_passing: the cheapest tier with a valid pass, else the reference. fixed: always `tier`. Or another "
        "kind that needs no parameters, or a policy of `policies`.",
    )
    tier: Name | None = setting(None, "The tier of the policy fixed.")
    override_model: Flag = setting(False, "Route even where the client named a concrete model.")
    cache: FeatureCacheForm = setting({}, "What the caches may do for the feature.")
    max_output_tokens: Tokens = setting(1024, "Output cap written into requests whose client gave none.")
    on_hang_up: Annotated[str, scalars.choice("abort", "drain")] = setting(
        "abort",
        "A stream whose client leaves. abort: stop it, charge what was delivered. drain: read it to its end, charge "
        "what the provider says and keep the answer for the cache.",
    )
    output_bound: Annotated[str, scalars.choice("cap", "learned")] = setting(
        "cap",
        "Output that the hold of a stream covers. cap: all it may have. learned: what recent answers were like; a "
        "stream that outgrows it holds more, and is stopped where the budget has no more.",
    )
    prompt_cache: Annotated[str, scalars.choice(*PromptCache)] = setting(
        "off",
        "Whether providers are told to keep the beginnings of the feature's prompts. auto: where its traffic has shown "
        "that this pays, and the client says nothing itself.",
    )

    @model_validator(mode="after")
    def _check(self) -> "FeatureForm":
        if self.policy == "fixed" and self.tier is None:
            raise fault("is missing; the policy fixed needs the tier to use, write tier: NAME", "tier")
        if self.policy != "fixed" and self.tier is not None:
            raise fault("only the policy fixed uses a tier; write policy: fixed, or delete the line", "tier")
        return self


class TreeForm(Form):
    """Everything the operator may write; each section stands in one file."""

    server: ServerForm = setting({}, "The listening side: address, limits, stopping.")
    data_dir: Text = setting(
        ".farthing", "Directory of the ledger, caches and eval results, relative to the current directory."
    )
    ledger: LedgerForm = setting({}, "The books.")
    cache: CacheForm = setting({}, "The caches.")
    upstream: UpstreamForm = setting({}, "The calling side: connections, waiting, failing over.")
    logging: LoggingForm = setting({}, "The log on standard error.")
    unregistered_features: Annotated[str, scalars.choice("refuse", "count")] = setting(
        "refuse", "Calls of a feature that is not registered: refuse them, or count them as unregistered."
    )
    providers: dict[Name, ProviderForm] = setting({}, "Where models are, by a name of your choice.")
    tiers: list[TierForm] = setting([], "The ladder of models, cheapest first.")
    models: dict[ClientModel, list[ModelDeploymentForm]] = setting(
        {}, "Models outside the ladder, such as embeddings, by the name that clients use."
    )
    aliases: dict[ClientModel, Text] = setting({}, "Model names of clients that mean auto or tier/NAME.")
    tasks: dict[Tag, TaskForm] = setting({}, "Kinds of tasks, for which evals choose a tier.")
    task_resolution: TaskResolutionForm = setting({}, "How the task is told of requests that name none.")
    policies: dict[Name, PolicyForm] = setting(
        {}, "Policies with parameters, by a name of your choice that features use."
    )
    features: dict[Tag, FeatureForm] = setting({}, "The registered features: what calls are made for.")
    default_tier: Name | None = setting(None, "Tier of calls without a task; the last tier if not given.")
    keys: list[KeyForm] = setting([], "Virtual keys: who may call.")
    budgets: list[BudgetForm] = setting([], "Hard caps.")
    alerts: AlertsForm = setting({}, "Who is told of a budget's thresholds, besides log and metric.")
    prices: list[PriceForm] = setting([], "Prices that win over the packaged price list.")
    evals: EvalsForm = setting({}, "How suites are run.")
