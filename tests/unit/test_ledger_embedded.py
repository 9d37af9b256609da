"""Embedding traffic: what the ledger knows of the calls of some models, on both engines."""

from typing import Any

import pytest

from farthing.money import Nano
from farthing.record import CacheOutcome, Outcome, Record
from farthing.tags import Tags
from farthing.usage import Usage
from ledger.database import Database
from ledger.embedded import EmbeddingTraffic, embedding_traffic
from ledger.testing import example_record
from tests.ledgers import Engine

HOUR_NS = 3600 * 10**9
NOON_NS = 1_800_000_000 * 10**9


def call(id_: str, *, feature: str = "search", at_ns: int = NOON_NS, tokens: int = 10, **changes: Any) -> Record:
    fields: dict[str, Any] = {"endpoint": "embeddings", "model_served": "embed-1", "cost": Nano(tokens)}
    tags = Tags(tenant="acme", key_id="k", feature=feature)
    usage = Usage(input_uncached=tokens)
    return example_record(id_, tags=tags, received_ns=at_ns, usage=usage, **{**fields, **changes})


@pytest.fixture
async def books(engine: Engine) -> Database:
    hit = {"cache": CacheOutcome.EXACT, "outcome": Outcome.HIT, "cost": Nano(0), "avoided_cache": Nano(4)}
    await engine.settle(
        call("a", inputs=10, inputs_sent=8),
        call("b", inputs=5, inputs_sent=5, model_served="embed-2", feature="mail"),
        call("hit", tokens=0, inputs=3, **hit),
        call("not counted", tokens=100),
        call("earlier", at_ns=NOON_NS - 2 * HOUR_NS, inputs=7, inputs_sent=7),
        call("other model", model_served="large"),
        call("chat", endpoint="chat/completions"),
    )
    return engine.database


def of(database: Database, *models: str, feature: str = "") -> EmbeddingTraffic:
    since, until = NOON_NS - HOUR_NS, NOON_NS + HOUR_NS
    return embedding_traffic(database, models=models, feature=feature, since_ns=since, until_ns=until)


async def test_calls_of_the_models_in_the_period_are_summed(books: Database) -> None:
    found = of(books, "embed-1", "embed-2")

    assert (found.requests, found.tokens, found.cost, found.avoided) == (4, 120, 120, 4)
    assert (found.counted, found.inputs, found.inputs_sent) == (3, 18, 13)


async def test_one_feature_is_told_by_itself(books: Database) -> None:
    found = of(books, "embed-1", "embed-2", feature="mail")

    assert (found.requests, found.tokens, found.counted, found.inputs_sent) == (1, 10, 1, 5)


async def test_a_model_that_nobody_called_has_no_traffic(books: Database) -> None:
    assert of(books, "nobody") == EmbeddingTraffic(
        requests=0, tokens=0, cost=Nano(0), avoided=Nano(0), counted=0, inputs=0, inputs_sent=0
    )
