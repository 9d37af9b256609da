"""Explain told: an explanation in lines for people, and as members for machines."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from farthing.money import format_usd
from farthing.record import Record
from farthing.routing import Demotion, Scorecard
from farthing.usage import TOKEN_CLASSES
from gateway.destination import HONOURED, PINNED
from gateway.explained import Explained, PlaceCost, TierView, Tokens
from gateway.periods import moment_of
from gateway.story import charges, tell, tell_corrections
from ledger.adjustments import Adjustment

SOURCES: Final = {
    "header": "named by the header x-farthing-task",
    "metadata": "named by metadata.task",
    "key": "the key's default",
    "feature": "the feature's",
    "system_prompt": "told by the system prompt",
    "rule": "told by a rule",
    "centroid": "told by examples",
    "default": "nothing says which",
}
"""By task_source."""


def lines(found: Explained) -> list[str]:
    """The explanation for a terminal; the `story` of a call that was made comes before this."""
    return [
        _asked(found),
        *_tiers(found.tiers),
        f"reason: {found.reason or 'none on record'}",
        *_also(found),
        f"deployments: {', '.join(found.deployments) or 'none'}",
        *_costs(found),
        *_evidence(found.tiers),
        *filter(None, [now_line(found)]),
        *(f"- {note}" for note in found.notes),
    ]


def story(record: Record, corrections: Iterable[Adjustment]) -> list[str]:
    """What the ledger says of a call that was made, in sentences and as a bill."""
    bill = (f"  {one.name}: {one.quantity} at {one.rate} USD per million = {one.amount} USD" for one in charges(record))
    return [*tell(record), *bill, *tell_corrections(corrections)]


def _asked(found: Explained) -> str:
    asked = found.asked
    told = asked.task_rule or SOURCES.get(asked.task_source, asked.task_source)
    told = f" ({told})" if told and (asked.task or asked.task_rule) else ""
    text = f"feature {asked.feature}, task {asked.task or '(none)'}{told}"
    if found.policy == PINNED:
        return f"{text}. The client pins {asked.model}: no policy is asked"
    if found.policy == HONOURED:
        return f"{text}. The client names the model {asked.model}, and the feature honours that"
    return f"{text}, policy {found.policy or 'none'}"


def _tiers(tiers: tuple[TierView, ...]) -> Iterator[str]:
    for view in tiers:
        yield f"{'->' if view.is_taken else '  '} {view.tier}: {view.why}"


def _also(found: Explained) -> Iterator[str]:
    for branch in found.split:
        yield f"{branch.share:.0%} of the calls go to {branch.tier}: {branch.reason}"
    if found.escalation:
        yield f"an answer that fails its check is asked again of {found.escalation}"
    if found.shadow:
        yield f"{found.shadow} is asked besides, off the path"


def _costs(found: Explained) -> Iterator[str]:
    tokens = found.tokens
    if tokens is None:
        return
    usage = tokens.usage
    yield f"cost for {usage.input_total:,} tokens in and {usage.output_total:,} out, {tokens.basis}:"
    for cost in found.outside:
        yield f"-> {cost.deployment}: {_cost(cost)}"
    for view in found.tiers:
        for cost in view.costs:
            yield f"{'->' if view.is_taken else '  '} {view.tier} {cost.deployment}: {_cost(cost)}"


def _cost(cost: PlaceCost) -> str:
    if cost.now is None:
        return f"not known: {cost.problem}"
    then = "" if cost.then is None else f" now, {format_usd(cost.then)} USD at the prices of then"
    return f"{format_usd(cost.now)} USD{then}"


def _evidence(tiers: tuple[TierView, ...]) -> Iterator[str]:
    told = [(view.tier, text) for view in tiers for text in _shown(view)]
    if told:
        yield "evidence:"
    for tier, text in told:
        yield f"   {tier}: {text}"


def _shown(view: TierView) -> Iterator[str]:
    if view.card is not None:
        yield _card(view.card)
    if view.demotion is not None:
        yield (
            f"demoted on {_day(view.demotion.at_ns)} until {_day(view.demotion.until_ns)} "
            f"({view.demotion.cause}): {view.demotion.detail}"
        )
    if view.live is not None:
        yield f"{view.live.graded:,} real answers graded since, e-value for worse {view.live.e_worse:.4g}"
    if view.advice:
        yield view.advice


def _card(card: Scorecard) -> str:
    compared = f", {card.difference:+.3f} against {card.reference}" if card.difference is not None else ""
    e_value = f", e-value {card.e_value:.4g} of {card.e_needed:.4g} needed" if card.e_needed else ""
    until = "" if card.valid_until_ns is None else f", valid until {_day(card.valid_until_ns)}"
    return (
        f"{card.verdict.value}: score {card.score:.3f} ({card.low:.3f} to {card.high:.3f}) on {card.items} items of "
        f"{card.suite}{compared}{e_value}; run {card.run_id} of {_day(card.decided_ns)}{until}"
    )


def _day(at_ns: int) -> str:
    return f"{moment_of(at_ns):%Y-%m-%d %H:%M UTC}"


def now_line(found: Explained) -> str:
    """Where a call that was made would go now; empty where that cannot be told."""
    if found.now is None:
        return ""
    where = found.now.tier or ", ".join(found.now.deployments)
    return f"now such a call would go to {where}: {found.now.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRow:
    """A tier in a table: how it stands, what its deployments would cost, and on what evidence, in sentences."""

    tier: str
    is_taken: bool
    why: str
    costs: tuple[str, ...]
    evidence: tuple[str, ...]


def tier_rows(found: Explained) -> list[TierRow]:
    """The ladder for a page."""
    return [
        TierRow(
            tier=view.tier,
            is_taken=view.is_taken,
            why=view.why,
            costs=tuple(f"{cost.deployment}: {_cost(cost)}" for cost in view.costs),
            evidence=tuple(_shown(view)),
        )
        for view in found.tiers
    ]


# --- for machines --------------------------------------------------------------------------------


def members(found: Explained) -> dict[str, Any]:
    """The explanation for JSON: amounts as exact decimal USD, times in ISO 8601."""
    asked, record = found.asked, found.record
    told: dict[str, Any] = {
        "request_id": None if record is None else record.id,
        "feature": asked.feature,
        "task": asked.task or None,
        "task_source": asked.task_source,
        "task_rule": asked.task_rule or None,
        "model": asked.model,
        "endpoint": asked.endpoint,
        "key": asked.key or None,
        "route": route_members(found),
        "tokens": None if found.tokens is None else _tokens_members(found.tokens),
        "outside": [_cost_members(cost) for cost in found.outside],
        "tiers": [_tier_members(view) for view in found.tiers],
        "notes": list(found.notes),
    }
    if record is not None:
        told["cost_usd"] = format_usd(record.cost)
        told["story"] = story(record, found.corrections)
        told["now"] = None if found.now is None else route_members(found.now)
    return told


def route_members(found: Explained) -> dict[str, Any]:
    """Where it goes, and why."""
    return {
        "tier": found.tier or None,
        "policy": found.policy,
        "reason": found.reason,
        "reference_tier": found.reference_tier or None,
        "deployments": list(found.deployments),
        "split": [{"tier": one.tier, "share": one.share, "reason": one.reason} for one in found.split],
        "escalation": found.escalation or None,
        "shadow": found.shadow or None,
    }


def _tokens_members(tokens: Tokens) -> dict[str, Any]:
    counts = {name: count for name in TOKEN_CLASSES if (count := getattr(tokens.usage, name))}
    return {**counts, "basis": tokens.basis}


def _tier_members(view: TierView) -> dict[str, Any]:
    return {
        "tier": view.tier,
        "taken": view.is_taken,
        "why": view.why,
        "deployments": [_cost_members(cost) for cost in view.costs],
        "evidence": None if view.card is None else _card_members(view.card),
        "demotion": None if view.demotion is None else _demotion_members(view.demotion),
        "live": None if view.live is None else {"graded": view.live.graded, "e_worse": view.live.e_worse},
        "advice": view.advice or None,
    }


def _cost_members(cost: PlaceCost) -> dict[str, Any]:
    return {
        "deployment": cost.deployment,
        "cost_usd": None if cost.now is None else format_usd(cost.now),
        "cost_then_usd": None if cost.then is None else format_usd(cost.then),
        "problem": cost.problem or None,
    }


def _card_members(card: Scorecard) -> dict[str, Any]:
    return {
        "verdict": card.verdict.value,
        "score": card.score,
        "low": card.low,
        "high": card.high,
        "items": card.items,
        "bar": card.bar or None,
        "margin": card.margin,
        "difference": card.difference,
        "reference": card.reference or None,
        "e_value": card.e_value,
        "e_needed": card.e_needed,
        "suite": card.suite,
        "suite_hash": card.suite_hash,
        "models": list(card.models),
        "run_id": card.run_id,
        "decided_at": moment_of(card.decided_ns).isoformat(),
        "valid_until": None if card.valid_until_ns is None else moment_of(card.valid_until_ns).isoformat(),
        "eval_cost_usd": format_usd(card.cost),
    }


def _demotion_members(demotion: Demotion) -> dict[str, Any]:
    return {
        "cause": demotion.cause,
        "detail": demotion.detail,
        "at": moment_of(demotion.at_ns).isoformat(),
        "until": moment_of(demotion.until_ns).isoformat(),
    }
