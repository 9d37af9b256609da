"""Soundness: what a suite cannot show, found before it costs anything."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from evals.gate import Rule
from evals.sizes import least_items, refusal
from evals.suite import Item, Suite

MARGINS: Final = (0.02, 0.03, 0.05, 0.10)
BARS: Final = tuple(step / 100 for step in range(95, 50, -5))


def size_fault(suite: Suite) -> str:
    """Why the suite is too small to promote anybody, with the size that it needs and what else would do; empty where
    it is large enough."""
    rule = suite.rule
    refused = refusal(rule)
    if not refused:
        return ""
    ways = list(_ways_out(suite, rule))
    return f"{refused}. {_sentence(ways)}" if ways else refused


def _sentence(ways: Sequence[str]) -> str:
    text = "; or ".join(ways)
    return text[0].upper() + text[1:]


def _ways_out(suite: Suite, rule: Rule) -> Iterator[str]:
    least, cut = least_items(rule), suite.limits.max_samples
    available = len({item.evidence for item in suite.items})
    if least is not None:
        if cut is not None and available >= least:
            yield f"raise `limits.max_samples` (now {cut}): the suite has {available}"
        else:
            yield f"write {least - rule.items} more tests"
    alone = replace(rule, candidates=1)
    if rule.candidates > 1 and not refusal(alone):
        yield f"name one candidate, which takes {least_items(alone)}"
    yield from _lower_marks(rule)


def _lower_marks(rule: Rule) -> Iterator[str]:
    """The strictest margin, and the highest bar, with which so many items would do."""
    if rule.margin is not None and rule.bar is None:
        wider = (replace(rule, margin=margin) for margin in MARGINS if margin > rule.margin)
        fits = next((one for one in wider if not refusal(one)), None)
        if fits is not None:
            yield f"accept a margin of {fits.margin:g}, which takes {least_items(fits)}"
    if rule.bar is not None and rule.margin is None:
        lower = (replace(rule, bar=bar) for bar in BARS if bar < rule.bar)
        fits = next((one for one in lower if not refusal(one)), None)
        if fits is not None:
            yield f"set a bar of {fits.bar:g}, which takes {least_items(fits)}"


def constant_fault(suite: Suite) -> str:
    """Why a model that says one thing to everybody could pass the suite; empty where it could not."""
    answer, share = constant_answer(suite.items)
    mark = max(suite.bar, 0.0 if suite.margin is None else 1 - suite.margin)
    if len(suite.items) < 2 or share < mark:
        return ""
    return f"the constant answer {answer!r} would score {share:.2f}: raise the bar above it, or balance the tests"


def constant_answer(items: Sequence[Item]) -> tuple[str, float]:
    """The one answer that is right most often where items expect a label or an exact text, and its share of all."""
    wanted: Counter[str] = Counter()
    for item in items:
        texts = {str(check.value).casefold() for check in item.assertions}
        if len(texts) == 1 and all(
            check.type in {"label", "equals", "normalized"} and not check.negated for check in item.assertions
        ):
            wanted.update(texts)
    if not wanted:
        return "", 0.0
    answer, count = wanted.most_common(1)[0]
    return answer, count / len(items)
