"""Eval costs: what an item or a judge's exam may cost, from the price book and the cap of the output."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from evals.judges import ExamQuestion
from evals.projection import ExamCost
from evals.suite import Item, Suite
from evals.verdictforms import ANSWER_TOKENS
from farthing.catalog import Catalog, Deployment
from farthing.errors import ConfigError
from farthing.money import Nano
from gateway.pricing import Pricing
from gateway.tokens import by_length
from ledger.tokens import count_tokens

FRAME: Final = 16
"""Tokens around the messages of a request, by the widest of the known formats."""
FORM_TOKENS: Final = 800
"""Of what a judge is told beside question, answers and rubric."""
VERDICT_TOKENS: Final = 200
JUDGE_CALLS: Final = 2
"""A judge is asked in both orders, or once more where it answers nonsense."""


class ItemPrices:
    """What each item may cost at most at prices of `now_ns`, on the dearest deployment of a tier, with its grade."""

    def __init__(self, suite: Suite, catalog: Catalog, pricing: Pricing, now_ns: int) -> None:
        self._suite, self._catalog, self._pricing, self._now_ns = suite, catalog, pricing, now_ns
        self._judges = _places(suite.judge.model, catalog) if suite.judge else ()

    def __call__(self, tier: str, item: Item) -> Nano:
        """Nano-dollars. Raises UnpricedModel."""
        asked = _input(item)
        answer = self._dearest(self._catalog.tier(tier).deployments, asked, item.max_tokens)
        read = asked + JUDGE_CALLS * item.max_tokens + FORM_TOKENS
        judged = self._dearest(self._judges, read, VERDICT_TOKENS) if self._judges else 0
        return Nano(answer + JUDGE_CALLS * judged)

    def exam(self, questions: Sequence[ExamQuestion]) -> ExamCost:
        """What the exam of the suite's judge costs at most; of one that a policy chooses, at the dearest deployment of
        all. Raises UnpricedModel."""
        places = self._judges or tuple(place for tier in self._catalog.tiers for place in tier.deployments)
        costs = [(one.is_again, self._dearest(places, _read(one), ANSWER_TOKENS)) for one in questions]
        once = [cost for is_again, cost in costs if not is_again]
        return ExamCost(questions=len(once), least=Nano(sum(once)), most=Nano(sum(cost for _, cost in costs)))

    def _dearest(self, places: tuple[Deployment, ...], input_: int, output: int) -> int:
        return max(self._pricing.at_most(place, input_, output, self._now_ns) for place in places)


def _places(model: str, catalog: Catalog) -> tuple[Deployment, ...]:
    """The deployments behind a client's name of a model; none for one that a policy chooses."""
    name = catalog.aliases.get(model, model)
    for tier in catalog.tiers:
        if name == f"tier/{tier.name}":
            return tier.deployments
    return catalog.models.get(name, ())


def _input(item: Item) -> int:
    body: Mapping[str, object] = item.body()
    text = json.dumps([body["messages"], item.extras], ensure_ascii=False, default=str)
    return _tokens(text) + FRAME * len(item.messages)


def _read(question: ExamQuestion) -> int:
    return _tokens(json.dumps(question.messages, ensure_ascii=False)) + FRAME * len(question.messages)


@lru_cache(maxsize=10_000)
def _tokens(text: str) -> int:
    try:
        return count_tokens([text], model="gpt-4o")
    except ConfigError:
        return by_length(len(text))
