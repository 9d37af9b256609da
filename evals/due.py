"""Due: which tiers have to be put to their task's suite again, and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from evals.cells import prompt_hash
from evals.desk import AGAIN
from evals.graders import grader_key
from evals.options import NS_PER_S, RENEWED_AT, STOPPED, VALID_FOR_S
from evals.scorecards import Asked
from evals.suite import Suite
from farthing.catalog import Task
from farthing.routing import Demotion, Scorecard, Verdict

OLD_RULE: Final = "point-estimate"


class Why(StrEnum):
    """What calls for a run."""

    ASKED = "asked for"
    NEVER = "never evaluated"
    UNFINISHED = "not finished"
    DEMOTED = "demoted"
    EXPIRED = "expired"
    SOON = "expires soon"
    MODELS = "models changed"
    BAR = "bar or margin changed"
    PROMPT = "prompt changed"
    SUITE = "suite changed"
    GRADER = "grader changed"
    RULE = "decided by an earlier rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One tier of one task. `suite` is the name of the suite to run, empty where the task has none; `detail` says
    more; `from_ns` is when a run can change something (wall ns; 0: now)."""

    task: str
    tier: str
    why: Why
    detail: str
    suite: str
    from_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known at `now_ns`: deployment ids by tier, the cheapest first; cards and demotions, the latest of each
    task and tier; what was asked for; the suites as they are; seconds for which a verdict lasts (None: for ever)."""

    models: Mapping[str, Sequence[str]]
    scorecards: Sequence[Scorecard]
    demotions: Sequence[Demotion]
    queue: Sequence[Asked]
    suites: Sequence[Suite]
    now_ns: int
    valid_for_s: int | None


def due(tasks: Iterable[Task], state: State) -> tuple[Due, ...]:
    """What is due, task by task, the cheapest tier first. Beyond a tier whose pass is good nothing is due: a dearer
    one would not get the task."""
    return tuple(one for task in tasks for one in _of_task(task, state))


def _of_task(task: Task, state: State) -> Iterable[Due]:
    suite = next((one for one in state.suites if one.task == task.name), None)
    candidates = [tier for tier in state.models if tier in task.candidates and tier != task.reference]
    for tier in candidates:
        card = next((one for one in state.scorecards if (one.task, one.tier) == (task.name, tier)), None)
        found = _of_tier(task, tier, card, suite, state)
        if found is not None:
            yield found
        elif card is not None and card.verdict is Verdict.PASS:
            return


def _of_tier(task: Task, tier: str, card: Scorecard | None, suite: Suite | None, state: State) -> Due | None:
    name = suite.name if suite else ""

    def is_due(why: Why, detail: str = "", from_ns: int = 0) -> Due:
        return Due(task=task.name, tier=tier, why=why, detail=detail, suite=name, from_ns=from_ns)

    asked = next((one for one in state.queue if (one.task, one.tier) == (task.name, tier)), None)
    lost = next((one for one in state.demotions if (one.task, one.tier) == (task.name, tier)), None)
    from_ns = _counts_from(lost, tier, suite, state)
    if asked is not None:
        return is_due(Why.ASKED, asked.reason, from_ns)
    if card is None:
        return is_due(Why.NEVER, "" if suite else "there is no suite for the task")
    if lost is not None and card.decided_ns <= max(lost.at_ns, from_ns):
        return is_due(Why.DEMOTED, lost.detail, from_ns)
    if card.verdict is Verdict.UNDECIDED and (STOPPED in card.reason or AGAIN in card.reason):
        return is_due(Why.UNFINISHED, card.reason)
    found = _changed(task, tier, card, suite, state) or _aged(card, suite, state)
    return None if found is None else is_due(*found)


def _counts_from(lost: Demotion | None, tier: str, suite: Suite | None, state: State) -> int:
    """When a pass counts again: after a demotion at once for another suite or other deployments, else at its end."""
    if lost is None or suite is None:
        return 0
    same = lost.suite_hash == suite.hash and sorted(lost.models) == sorted(state.models[tier])
    return lost.until_ns if same or not lost.suite_hash else 0


def _changed(task: Task, tier: str, card: Scorecard, suite: Suite | None, state: State) -> tuple[Why, str] | None:
    if sorted(card.models) != sorted(state.models[tier]):
        return Why.MODELS, f"{', '.join(card.models)} then, {', '.join(state.models[tier])} now"
    if card.rule.startswith(OLD_RULE):
        return Why.RULE, card.rule
    if card.verdict is Verdict.PASS and _asks_more(task, card):
        return Why.BAR, _asked_for(task, card, suite)
    if suite is None or card.suite != suite.name:
        return None
    if card.suite_hash != suite.hash:
        same = not card.prompt_hash or card.prompt_hash == prompt_hash(suite)
        return (Why.SUITE if same else Why.PROMPT), ""
    return (Why.GRADER, "") if card.grader and card.grader != grader_key(suite) else None


def _asks_more(task: Task, card: Scorecard) -> bool:
    wider = task.margin is not None and (card.margin is None or card.margin > float(task.margin))
    return card.bar < float(task.bar) or wider


def _asked_for(task: Task, card: Scorecard, suite: Suite | None) -> str:
    if suite is not None and (suite.bar, suite.margin) == (card.bar, card.margin):
        margin = "" if task.margin is None else f", margin {task.margin:f}"
        return f"the suite asks for less than the task: bar {task.bar:f}{margin}"
    return f"the task asks for more than it has shown: bar {card.bar:g}"


def _aged(card: Scorecard, suite: Suite | None, state: State) -> tuple[Why, str] | None:
    until_ns = card.valid_until_ns
    if until_ns is None:
        return None
    if state.now_ns >= until_ns:
        return Why.EXPIRED, ""
    lasts_s = (suite.limits.max_age_s if suite else None) or state.valid_for_s or VALID_FOR_S
    is_soon = state.now_ns >= until_ns - round(lasts_s * NS_PER_S * (1 - RENEWED_AT))
    return (Why.SOON, "") if is_soon else None
