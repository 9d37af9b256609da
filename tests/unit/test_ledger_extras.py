"""What a charge holds beside its tokens, on its way through re-pricing."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from farthing.money import Nano, Rates
from farthing.record import Extra, Record
from farthing.usage import Usage
from ledger import reports
from ledger.adjustments import Repricing, adjustments_of, reprice
from ledger.price import Price
from ledger.testing import example_record
from tests.ledgers import Engine

OLD, NEW = Rates(input_uncached=10**9, output=2 * 10**9), Rates(input_uncached=10**9, output=3 * 10**9)
ALL = Repricing(since_ns=0, until_ns=2**62, now_ns=1_800_000_000 * 10**9)
SEARCHES = Extra(name="web_searches", quantity=3, rate=10**10)
"""3 at 10,000 nano-dollars."""


def priced(id_: str, **changes: Any) -> Record:
    """100 tokens at 1,000 nano-dollars and 50 at 2,000: 200,000; at the new rates 250,000."""
    values = {
        "usage": Usage(input_uncached=100, output=50),
        "provider": "mock",
        "model_served": "m",
        "rates": json.dumps(OLD.as_dict()),
        "price_version": "old",
    }
    return example_record(id_, **{**values, **changes})


def priced_at(rates: Rates, table: Mapping[str, int]) -> Callable[[str, str, int, str], Price]:
    return lambda provider, model, at_ns, tier: Price("new", ((-1, rates),), (table,))


def cost_of(engine: Engine) -> int:
    return reports.totals(engine.database, since_ns=0, until_ns=2**62).cost


def test_what_a_record_holds_beside_its_tokens_is_priced_anew_with_them(engine: Engine) -> None:
    engine.write(priced("a", cost=Nano(200_000 + 30_000), extras=(SEARCHES,)))

    reprice(engine.database, ALL, priced_at(NEW, {"web_searches": 10**9}))

    assert cost_of(engine) == 250_000 + 3_000
    (adjustment,) = adjustments_of(engine.database, "a")
    assert json.loads(adjustment.extras) == [{"name": "web_searches", "quantity": 3, "rate": 10**9}]
    assert reprice(engine.database, ALL, priced_at(NEW, {"web_searches": 10**9})).delta == 0


def test_an_extra_for_which_no_price_is_known_leaves_its_record_as_it_was(engine: Engine) -> None:
    engine.write(priced("a", cost=Nano(200_000 + 30_000), extras=(SEARCHES,)))

    done = reprice(engine.database, ALL, priced_at(NEW, {}))

    assert (done.models["mock", "m"].composed, done.delta) == (1, 0)


def test_a_part_by_another_model_is_priced_anew_by_that_models_price(engine: Engine) -> None:
    """40 of the 50 tokens of output at 5,000 nano-dollars instead of 2,000; then at 6,000, and the others at 3,000."""
    part = Extra(name="output", quantity=40, rate=3 * 10**9, model="big", part=1)
    engine.write(priced("a", cost=Nano(200_000 + 120_000), extras=(part,)))
    asked: list[str] = []

    def price_of(provider: str, model: str, at_ns: int, tier: str) -> Price:
        asked.append(model)
        return Price("new", ((-1, Rates(output=6 * 10**9) if model == "big" else NEW),))

    reprice(engine.database, ALL, price_of)

    assert cost_of(engine) == 100 * 1_000 + 10 * 3_000 + 40 * 6_000
    assert sorted(asked) == ["big", "m"]
