"""Suite: one eval as frozen values, and the hashes by which its items and itself are known."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from evals.gate import ALPHA, ALPHA_FAIL, Rule

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One check of an output. `type` without its `not-`; `threshold` is the score from which it holds, in [0, 1].

    `value` is what the type needs (text, list of texts, JSON schema); `labels` are those of `label`, `tolerance`
    the greatest difference that `final-number` accepts.
    """

    type: str
    value: Any = None
    negated: bool = False
    weight: float = 1.0
    threshold: float = 1.0
    labels: tuple[str, ...] = ()
    tolerance: Decimal = Decimal(0)

    def content(self) -> dict[str, Any]:
        """All that decides a score, as JSON can hold it."""
        return {
            "type": self.type,
            "value": self.value,
            "negated": self.negated,
            "weight": self.weight,
            "threshold": self.threshold,
            "labels": self.labels,
            "tolerance": str(self.tolerance),
        }


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question put to every tier: chat `messages`, and the assertions that score the answer.

    The item's score is the weighted mean of its assertions; with a `threshold` it is 1 from there on, else 0.
    """

    messages: tuple[Mapping[str, str], ...]
    assertions: tuple[Assertion, ...]
    max_tokens: int
    temperature: float
    threshold: float | None = None

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of all that decides the answer and its score: equal items have equal hashes."""
        return _digest(
            {
                "messages": [dict(message) for message in self.messages],
                "assertions": [assertion.content() for assertion in self.assertions],
                "max_tokens": self.max_tokens,
                "temperature": self.temperature,
                "threshold": self.threshold,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use: items a tier and USD in all (None: no cap); `max_age_s` is how long its verdict holds, in
    seconds (None: the run says)."""

    max_samples: int | None = None
    budget_usd: Decimal | None = None
    max_age_s: int | None = None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A task's eval. `name` is the file's, without its suffix.

    A tier passes where it shows that its mean score is above `bar` (0: no floor) and that it is worse than the
    reference by less than `margin` (None: they are not compared). `alpha` is the probability with which any candidate
    at all may be promoted wrongly, `alpha_fail` that with which one may be failed wrongly.
    """

    name: str
    task: str
    bar: float
    reference: str
    candidates: tuple[str, ...]
    items: tuple[Item, ...]
    description: str = ""
    limits: Limits = field(default_factory=Limits)
    margin: float | None = None
    alpha: float = ALPHA
    alpha_fail: float = ALPHA_FAIL

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the task, what is to be shown and the items in any order: what a verdict belongs to."""
        # The gate's bets hang on how many items there will be and how many candidates: all of it is one test.
        shown = [self.bar, self.margin, self.alpha, self.alpha_fail, len(self.candidates), self.limits.max_samples]
        return _digest([self.task, shown, sorted(item.hash for item in self.items)])

    @property
    def rule(self) -> Rule:
        """What the gate is to hold every candidate to, with as many items as a run may use."""
        return Rule(
            items=len(self.sample()),
            bar=self.bar or None,
            margin=self.margin,
            candidates=len(self.candidates),
            alpha=self.alpha,
            alpha_fail=self.alpha_fail,
        )

    def sample(self) -> tuple[Item, ...]:
        """The items in the order in which they are asked, at most `limits.max_samples`.

        The order is drawn by hash, so it is the same for every tier and run, and a run cut short by its budget has
        still seen an unbiased sample.
        """
        whole = _digest(sorted(item.hash for item in self.items))
        drawn = sorted(self.items, key=lambda item: _digest([whole, item.hash]))
        return tuple(drawn[: self.limits.max_samples])


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
