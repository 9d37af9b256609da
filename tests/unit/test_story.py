"""The story of a record: who refused it, in which tier it was priced, what the provider said."""

import json
from decimal import Decimal

import pytest

from farthing.money import FEMTO_PER_NANO, Nano, Rates
from farthing.record import Attempt, Extra, Outcome
from farthing.tags import CACHE, SHADOW, Tags
from farthing.usage import Usage
from gateway.story import charges, tell
from ledger.testing import example_record

REFUSED_BY = "monthly|feature=search"


def test_a_refusal_names_the_budget_and_its_scope() -> None:
    record = example_record(
        "r", outcome=Outcome.REFUSED, status=402, error_code="budget_exceeded", refused_by=REFUSED_BY
    )

    told = " ".join(tell(record))

    assert (
        "It was refused by budget 'monthly' (feature=search), and nothing was sent to a model (budget_exceeded, "
        "HTTP 402)." in told
    )


@pytest.mark.parametrize(
    ("feature", "task", "words"),
    [
        (
            SHADOW,
            "shadow:search",
            "what the model would have said, to compare it with a cached answer of feature 'search'",
        ),
        (SHADOW, "judge:search", "whether two answers say the same, one of them a cached one of feature 'search'"),
        (SHADOW, "live:search", "to know how good the tiers are for feature 'search'."),
        (CACHE, "embed:search", "for the vector of a question of feature 'search', whose cache bears the cost."),
    ],
)
def test_a_call_of_the_gateways_own_says_what_it_was_for(feature: str, task: str, words: str) -> None:
    own = example_record("r", tags=Tags(tenant="acme", key_id=feature, feature=feature, task=task))
    strangers = example_record("r", tags=Tags(tenant="acme", key_id="app", feature=feature, task=task))

    assert words in " ".join(tell(own))
    assert "on its own account" not in " ".join(tell(strangers))


def test_a_stream_that_was_stopped_was_not_left_by_its_client() -> None:
    record = example_record(
        "r", outcome=Outcome.ABORTED, status=402, error_code="budget_exceeded", refused_by=REFUSED_BY
    )

    told = " ".join(tell(record))

    assert "It was stopped before its end, since budget 'monthly' (feature=search) had too little left for more" in told
    assert "hung up" not in told


def test_the_tier_and_the_figure_of_the_provider_are_told_where_there_are_any() -> None:
    usage = Usage(input_uncached=3, output=4)
    plain = example_record("r", cost=Nano(7), usage=usage)
    told = example_record("r", cost=Nano(7), usage=usage, service_tier="flex", stated_cost=Nano(0))

    assert "tier 'flex'" not in " ".join(tell(plain)) and "stated" not in " ".join(tell(plain))
    assert "in service tier 'flex'. The provider itself stated 0.000000000 USD." in " ".join(tell(told))


EXTRAS = (
    Extra(name="web_searches", quantity=3, rate=10**13),
    Extra(name="output_image", quantity=40, rate=28 * 10**9),
    Extra(name="output", quantity=7, rate=-(10**9), model="tiny", part=1),
)


def test_what_was_charged_beside_the_tokens_is_told() -> None:
    told = " ".join(tell(example_record("r", cost=Nano(7), extras=EXTRAS)))

    assert "In it, or beside its tokens: 3 web searches, 40 tokens of images in the output." in told
    assert "A part of the answer was made by 'tiny'." in told
    assert "beside" not in " ".join(tell(example_record("r", cost=Nano(7))))


@pytest.mark.parametrize("extras", [(), EXTRAS])
def test_the_lines_of_a_bill_add_up_to_its_cost(extras: tuple[Extra, ...]) -> None:
    usage, rates = (
        Usage(input_uncached=1_000, output=50),
        Rates(input_uncached=10**9, output=2 * 10**9, per_request=Nano(5), per_second=Nano(1_000)),
    )
    cost = rates.cost(usage, 2.0) + sum(extra.quantity * extra.rate for extra in extras) // FEMTO_PER_NANO
    attempt = Attempt(deployment="d", status=200, error="", seconds=2.0, cost=Nano(cost))
    record = example_record(
        "r", usage=usage, cost=Nano(cost), rates=json.dumps(rates.as_dict()), extras=extras, attempts=(attempt,)
    )

    lines = charges(record)

    assert sum(Decimal(line.amount) for line in lines) == Decimal(cost).scaleb(-9)
    told = {line.name: line.rate for line in lines}
    if extras:
        assert told["web_searches"] == "0.01 each"
        assert told["output_image, beyond output"] == "28"
        assert told["output by tiny, beyond output"] == "-1"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("header", "task 'faq' (named by the header)"),
        ("system_prompt", "task 'faq' (told by its system prompt)"),
        ("rule", "task 'faq' (told by a rule)"),
        ("centroid", "task 'faq' (told by examples)"),
    ],
)
def test_it_is_said_what_the_task_was_told_by(source: str, words: str) -> None:
    tags = Tags(tenant="acme", key_id="app", feature="search", task="faq")

    assert words in " ".join(tell(example_record("r", tags=tags, task_source=source)))
