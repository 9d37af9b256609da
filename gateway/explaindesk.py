"""Explain desk: answers why a call went where it went, or where one would go now, from the parts that serve it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from farthing.call import Call, Endpoint
from farthing.catalog import Deployment, Feature, Task, VirtualKey
from farthing.errors import FarthingError, InvalidParameter, NotFound
from farthing.ports import Clock
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import TOKEN_CLASSES, Usage, UsageSource
from gateway.admission import admit, known_task
from gateway.destination import Destination
from gateway.explained import Asked, Explained, Ladder, Tokens, named_steps, tokens_of
from gateway.facts import NO_FACTS, Facts
from gateway.forward import output_cap
from gateway.logs import printable
from gateway.request import Request
from gateway.runtime import Generation
from gateway.sides import call_of, task_again
from gateway.story import where_else
from gateway.tokens import estimated_input
from ledger import reports
from ledger.adjustments import Adjustment, adjustments_of, upstream_seconds
from ledger.database import Database
from router_policies.registry import MONEY, kinds_in, rule_of
from router_policies.tasks import Resolution, resolve_task

MONTH_NS: Final = 30 * 86_400 * 10**9
NOBODY: Final = VirtualKey(id="(any)", sha256=b"", tenant="")
"""The key of a dry run that names none: it may use every feature, and has no defaults."""
_HITS: Final = tuple(outcome.value for outcome in CacheOutcome if outcome.is_hit)
_ENDPOINTS: Final = frozenset(endpoint.value for endpoint in Endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainDesk:
    """Everything here blocks, but for `of_request`, which waits for what blocks in a thread. `generation` and `facts`
    are those of the moment (None: they are not known here); a ledger that is not there has no rows."""

    database: Database
    clock: Clock
    generation: Callable[[], Generation]
    facts: Callable[[], Facts] | None = None

    @property
    def _known(self) -> Facts:
        return NO_FACTS if self.facts is None else self.facts()

    # --- a call that was made ----------------------------------------------------------------------

    def of_record(self, request_id: str) -> Explained:
        """A row of the ledger, with where its call would go now. Raises NotFound, LedgerUnavailable."""
        record = reports.record(self.database, request_id) if self.database.is_there() else None
        if record is None:
            raise NotFound(absent(self.database, request_id))
        return self.of_row(record, adjustments_of(self.database, record.id))

    def of_row(self, record: Record, corrections: Iterable[Adjustment]) -> Explained:
        """The same of a row at hand."""
        generation, now_ns = self.generation(), self.clock.wall_ns()
        tags = record.tags
        feature, task = generation.feature(tags.feature), generation.catalog.tasks.get(tags.task)
        ladder = Ladder(generation=generation, feature=feature, task=task, facts=self._known, now_ns=now_ns)
        tokens = tokens_of(record, upstream_seconds(record))
        _, steps = ladder.choose()
        taken = tuple(replace(step, taken=step.tier == record.tier) for step in steps)
        return Explained(
            asked=Asked(
                feature=tags.feature,
                task=tags.task,
                task_source=record.task_source,
                model=record.model_requested,
                endpoint=record.endpoint,
                key=tags.key_id,
            ),
            tier=record.tier,
            policy=record.policy,
            reason=record.route_reason,
            reference_tier=record.reference_tier,
            deployments=(record.deployment,) if record.deployment else (),
            tokens=tokens,
            tiers=ladder.views(taken, tokens, then_ns=record.received_ns),
            outside=() if record.tier else ladder.costs(_named(record, generation), tokens, then_ns=record.received_ns),
            record=record,
            corrections=tuple(corrections),
            now=self._again(record, ladder),
            notes=("What the tiers are said to have shown is what is on record now.",),
        )

    def _again(self, record: Record, ladder: Ladder) -> Explained | None:
        """Where the same call would go now; None where that cannot be told, or nothing is routed."""
        if record.endpoint not in _ENDPOINTS or not record.model_requested:
            return None
        keys = ladder.generation.keys.values()
        default = next((key.task for key in keys if key.id == record.tags.key_id), "")
        try:
            task, source = task_again(record, default, ladder.feature, ladder.generation.catalog)
            resolution = Resolution(task.name if task else "", source)
            return self._explained(call_of(record), replace(ladder, task=task), resolution, record.tags.key_id, None)
        except FarthingError:
            return None

    # --- a dry run ---------------------------------------------------------------------------------

    def of_names(self, *, feature: str, task: str = "", model: str = "auto") -> Explained:
        """A call of that feature that names this task and model, priced for the feature's mean request. Raises
        InvalidParameter."""
        generation = self.generation()
        catalog = generation.catalog
        if feature not in catalog.features:
            raise InvalidParameter(_undeclared("feature", feature, catalog.features), param="feature")
        if task and task not in catalog.tasks:
            raise InvalidParameter(_undeclared("task", task, catalog.tasks), param="task")
        registered = catalog.features[feature]
        name, source = resolve_task(header=task, metadata="", key_default="", feature_default=registered.task)
        call = _bare_call(feature, task, model, self.clock.wall_ns())
        ladder = self._ladder(generation, registered, catalog.tasks.get(name))
        return self._explained(call, ladder, Resolution(name, source), "", self._mean(feature, name))

    async def of_request(self, request: Request, key: VirtualKey = NOBODY) -> Explained:
        """A whole request, as if that key had sent it. Raises RequestError and PermissionDenied as at the door."""
        generation = self.generation()
        call = admit(request, key, generation.catalog, count_unregistered=generation.count_unregistered)
        feature = generation.feature(call.tags.feature)
        resolution = await asyncio.to_thread(_resolve, request, call, key, feature, generation)
        task = known_task(resolution.task, resolution.source, generation.catalog)
        if task is None:
            resolution = Resolution("", resolution.source, resolution.rule)
        ladder = self._ladder(generation, feature, task)
        place = generation.destinations.find(call, feature, task).deployments[0]
        input_tokens = await estimated_input(call, model=place.model)
        return await asyncio.to_thread(self._of_call, call, ladder, resolution, key, input_tokens)

    def _of_call(
        self, call: Call, ladder: Ladder, resolution: Resolution, key: VirtualKey, input_tokens: int
    ) -> Explained:
        tokens = self._estimated(call, ladder, input_tokens)
        shown = "" if key is NOBODY else key.id
        return self._explained(call, ladder, resolution, shown, tokens)

    def _ladder(self, generation: Generation, feature: Feature, task: Task | None) -> Ladder:
        return Ladder(generation=generation, feature=feature, task=task, facts=self._known, now_ns=self.clock.wall_ns())

    # --- both --------------------------------------------------------------------------------------

    def _explained(
        self, call: Call, ladder: Ladder, resolution: Resolution, key: str, tokens: Tokens | None
    ) -> Explained:
        generation, feature = ladder.generation, ladder.feature
        destination = self._destination(call, ladder)
        asked = Asked(
            feature=feature.name,
            task=ladder.task.name if ladder.task else "",
            task_source=resolution.source,
            task_rule=resolution.rule,
            model=call.model,
            endpoint=call.endpoint.value,
            key=key,
        )
        found = Explained(
            asked=asked,
            tier=destination.tier,
            policy=destination.policy,
            reason=destination.reason,
            reference_tier=destination.reference_tier,
            deployments=tuple(place.id for place in destination.deployments),
            tokens=tokens,
            tiers=ladder.views(named_steps(generation, destination.tier), tokens),
            outside=() if destination.tier else ladder.costs(destination.deployments, tokens),
            notes=tuple(_notes(ladder, destination, tokens, knows_facts=self.facts is not None)),
        )
        if not destination.is_routed:
            return found
        choice, steps = ladder.choose()
        taken = tuple(replace(step, taken=step.tier == destination.tier) for step in steps)
        return replace(
            found,
            tiers=ladder.views(taken, tokens),
            split=choice.split,
            escalation=choice.escalation,
            shadow=choice.shadow,
        )

    def _destination(self, call: Call, ladder: Ladder) -> Destination:
        destinations = ladder.generation.destinations
        try:
            found = destinations.find(call, ladder.feature, ladder.task)
        except FarthingError:
            known = ladder.generation.catalog
            names = ("auto", *known.aliases, *(f"tier/{tier.name}" for tier in known.tiers), *known.models)
            raise InvalidParameter(
                f"No deployment serves '{printable(call.model[:80])}'; a client can ask for: "
                f"{', '.join(dict.fromkeys(names))}.",
                param="model",
            ) from None
        return destinations.now(call, ladder.feature, ladder.task, ladder.facts, None) if found.moves else found

    # --- tokens ------------------------------------------------------------------------------------

    def _estimated(self, call: Call, ladder: Ladder, input_tokens: int) -> Tokens:
        """The input as it would be estimated for the books; the output of the feature's mean answer, else the cap."""
        feature, task = ladder.feature.name, ladder.task.name if ladder.task else ""
        mean = self._mean_usage(feature, task)
        if mean is not None:
            output, whence = mean[0].output_total, f"the mean of {_answers(feature, task, mean[1])} of the last 30 days"
        elif call.output_cap is not None:
            output, whence = output_cap(call, ladder.feature), "the cap of the call, as no answer is known yet"
        else:
            output, whence = (
                output_cap(call, ladder.feature),
                "the cap that the gateway sets, as no answer is known yet",
            )
        output = 0 if call.endpoint is Endpoint.EMBEDDINGS else output * call.choices
        return Tokens(
            usage=Usage(input_uncached=input_tokens, output=output, source=UsageSource.ESTIMATED),
            basis=f"the input estimated from the body, the output {whence}",
        )

    def _mean(self, feature: str, task: str) -> Tokens | None:
        mean = self._mean_usage(feature, task)
        if mean is None:
            return None
        return Tokens(usage=mean[0], basis=f"the mean of {_answers(feature, task, mean[1])} of the last 30 days")

    def _mean_usage(self, feature: str, task: str) -> tuple[Usage, int] | None:
        """The mean answered request of a feature and task, and how many there were; None where there was none."""
        if not self.database.is_there():
            return None
        now_ns = self.clock.wall_ns()
        where = {"feature": feature, "task": task, "outcome": Outcome.SUCCESS.value}
        rows = reports.spend(self.database, by=("cache",), since_ns=now_ns - MONTH_NS, until_ns=now_ns, where=where)
        answered = [row for row in rows if row.keys[0] not in _HITS]
        count = sum(row.requests for row in answered)
        if not count:
            return None
        sums = {name: sum(getattr(row.usage, name) for row in answered) for name in TOKEN_CLASSES}
        means = {name: round(Fraction(total, count)) for name, total in sums.items()}
        return Usage(**means, source=UsageSource.ESTIMATED), count


def _answers(feature: str, task: str, count: int) -> str:
    return f"{count:,} answer{'' if count == 1 else 's'} of {feature}{f', task {task}' if task else ''}"


def _named(record: Record, generation: Generation) -> tuple[Deployment, ...]:
    """The deployments of the model that the caller of a row named, as far as they are there still."""
    return generation.catalog.models.get(record.model_requested, ())


def absent(database: Database, request_id: str) -> str:
    """What is said where the ledger has no such row. Blocks."""
    elsewhere = where_else(database, request_id) if database.is_there() else "It may still be under way."
    return f"The ledger has no request '{printable(request_id[:80])}'. {elsewhere}"


def _resolve(request: Request, call: Call, key: VirtualKey, feature: Feature, generation: Generation) -> Resolution:
    """The task as the pipeline tells it, with the rule in words. A classifier has all the time it wants here."""
    named = resolve_task(
        header=request.task, metadata=call.tags.task, key_default=key.task, feature_default=feature.task
    )
    resolver = generation.resolver
    if named[0] or resolver is None or call.endpoint is Endpoint.EMBEDDINGS:
        return Resolution(*named)
    signals = resolver.signals(call.endpoint, call.body)
    if generation.destinations.find(call, feature, None).is_routed:
        return resolver.resolve(signals)
    return resolver.by_signs(signals) or Resolution(*named)


def _bare_call(feature: str, task: str, model: str, now_ns: int) -> Call:
    return Call(
        id="",
        endpoint=Endpoint.CHAT,
        tags=Tags(tenant="", key_id="", feature=feature, task=task),
        model=model,
        stream=False,
        wants_usage=False,
        raw=b"",
        body={},
        received_ns=now_ns,
        started=0.0,
        input_bound=0,
    )


def _undeclared(kind: str, name: str, declared: Mapping[str, object]) -> str:
    known = ", ".join(declared) or "none"
    return f"The {kind} '{printable(name[:80])}' is not declared under `{kind}s:`; declared: {known}."


def _notes(ladder: Ladder, destination: Destination, tokens: Tokens | None, *, knows_facts: bool) -> Iterable[str]:
    if tokens is None:
        yield (
            f"Nothing is known of the tokens: {ladder.feature.name} had no such answer in the last 30 days. Give a "
            "body for an estimate."
        )
    if destination.moves and not knows_facts:
        yield "Latencies and grades of real calls are known to a running gateway only: ask it with POST /api/explain."
    if destination.is_routed and MONEY in kinds_in(rule_of(ladder.feature)):
        yield "How far budgets have run ahead of their windows is not looked at."
    if destination.is_routed and ladder.generation.budgets.thresholds:
        yield "A threshold of a budget may lower the route."
