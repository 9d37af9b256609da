"""The story of a record: who refused it, in which tier it was priced, what the provider said."""

from farthing.money import Nano
from farthing.record import Outcome
from farthing.usage import Usage
from gateway.story import tell
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
