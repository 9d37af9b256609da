"""Suite: one eval as frozen values, and the hashes by which its items and itself are known."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import groupby
from typing import Any

from evals.gate import ALPHA, ALPHA_FAIL, Rule

DAY_S = 86_400
NO_CLUSTER = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One check of an answer. `type` without its `not-`; `threshold` is the score from which it holds, in [0, 1].

    `value` is what the type needs (text, list of texts, JSON, schema, USD of `cost`, ms of `latency`); `labels` are
    those of `label`; a number may differ by `tolerance`, or by `relative` times the wanted one; `inner` are those of
    an `assert-set`. `place` is its file and line, for a message.
    """

    type: str
    value: Any = None
    negated: bool = False
    weight: float = 1.0
    threshold: float = 1.0
    labels: tuple[str, ...] = ()
    tolerance: Decimal = Decimal(0)
    relative: Decimal = Decimal(0)
    inner: tuple["Assertion", ...] = ()
    place: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The type as the suite wrote it."""
        return f"not-{self.type}" if self.negated else self.type

    def each(self) -> Iterator["Assertion"]:
        """Itself, and those inside it."""
        yield self
        for inner in self.inner:
            yield from inner.each()

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
            "relative": str(self.relative),
            "inner": [assertion.content() for assertion in self.inner],
        }


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question put to every tier: chat `messages`, and the assertions that score the answer.

    The item's score is the weighted mean of its assertions; with a `threshold` it is 1 from there on, else 0.
    `extras` are further fields of the request (tools, tool_choice, response_format): the mode in which a model is
    asked decides much of what it can do. `cluster` names the document from which the item comes ("": its own);
    `repeat` counts the times that the same question was put before, whose cluster is the same.
    """

    messages: tuple[Mapping[str, str], ...]
    assertions: tuple[Assertion, ...]
    max_tokens: int
    temperature: float
    threshold: float | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = NO_CLUSTER
    repeat: int = 0

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of all that decides the answer and its score: equal items have equal hashes."""
        return digest(
            {
                "request": self.body(),
                "assertions": [assertion.content() for assertion in self.assertions],
                "threshold": self.threshold,
            }
        )

    @property
    def evidence(self) -> str:
        """What the item is a part of: items with the same evidence count as one, by their mean."""
        return self.cluster or self.hash

    def body(self) -> dict[str, Any]:
        """The chat request that asks it, without its model. A repeat has a seed of its own, so that no cache answers
        it with the answer before."""
        asked = {
            "messages": [dict(message) for message in self.messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            **self.extras,
        }
        return {**asked, "seed": self.repeat} if self.repeat else asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """One verdict of people, against which a judge is held. A single `output` that passes or does not; or, where
    there is an `other`, a pair of which `output` is the better one."""

    prompt: str
    output: str
    passes: bool = True
    other: str | None = None
    rubric: str = ""

    def content(self) -> list[Any]:
        """All of it, as JSON can hold it."""
        return [self.prompt, self.output, self.passes, self.other, self.rubric]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """The model that grades what no rule can, as a client names it, and the `gold` that shows whether it may.

    `rubric` is for assertions without one. An output of more than `max_chars` characters does not pass: judges like
    length, so length must not pay.
    """

    model: str
    rubric: str = ""
    gold: tuple[Gold, ...] = ()
    max_chars: int = 8_000


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
    `embedder` is the model, as a client names it, whose vectors say how similar two texts are. `places` tell where the
    head's keys stand (`file:line: key`), for messages of those who know tasks and tiers.
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
    judge: Judge | None = None
    embedder: str = ""
    places: Mapping[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the task, what is to be shown and the items in any order: what a verdict belongs to."""
        # The gate's bets hang on how many items there will be and how many candidates: all of it is one test.
        shown = [self.bar, self.margin, self.alpha, self.alpha_fail, len(self.candidates), self.limits.max_samples]
        return digest([self.task, shown, sorted([item.hash, item.cluster] for item in self.items)])

    @property
    def rule(self) -> Rule:
        """What the gate is to hold every candidate to, with as much evidence as a run may use."""
        return Rule(
            items=len(self.clusters()),
            bar=self.bar or None,
            margin=self.margin,
            candidates=len(self.candidates),
            alpha=self.alpha,
            alpha_fail=self.alpha_fail,
        )

    def sample(self) -> tuple[Item, ...]:
        """The items in the order in which they are asked, at most `limits.max_samples`; those of a cluster together.

        The order is drawn by hash, so it is the same for every tier and run, and a run cut short by its budget has
        still seen an unbiased sample.
        """
        return self._drawn[: self.limits.max_samples]

    def clusters(self) -> tuple[tuple[Item, ...], ...]:
        """The sample in pieces of evidence: each is bet on once, by the mean score of its items."""
        return tuple(tuple(items) for _, items in groupby(self.sample(), key=lambda item: item.evidence))

    @cached_property
    def _drawn(self) -> tuple[Item, ...]:
        whole = digest(sorted(item.hash for item in self.items))

        def lot(item: Item) -> tuple[str, str]:
            return digest([whole, item.evidence]), item.hash

        return tuple(sorted(self.items, key=lot))


def digest(content: Any) -> str:
    """SHA-256 (hex) of a value as JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
