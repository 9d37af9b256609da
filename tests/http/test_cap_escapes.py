"""Fields of a provider's own that could make a call dearer than its hold never reach it."""

from typing import Any

import orjson
import pytest

from farthing.catalog import Deployment
from farthing.record import Outcome
from gateway.settings.providers import KINDS
from tests.scripted_pipeline import SMALL, Stair, completion, plain, provider, usage

ESCAPES = [
    ("openrouter", {"models": ["dear/model"]}),
    ("openrouter", {"route": "fallback"}),
    ("openrouter", {"plugins": [{"id": "web"}]}),
    ("llamacpp", {"n_predict": 100_000}),
    ("llamacpp", {"n_cmpl": 9}),
]


def stair_of(kind: str) -> Stair:
    """A pipeline whose only provider escapes its cap as that kind does."""
    place = Deployment(name=SMALL, provider=provider("one", cap_escapes=KINDS[kind].quirks.cap_escapes), model=SMALL)
    return Stair(small=(place,)).open()


@pytest.mark.parametrize(("kind", "sent"), ESCAPES)
async def test_a_field_that_escapes_the_hold_is_refused_and_says_what_to_send(kind: str, sent: dict[str, Any]) -> None:
    stair = stair_of(kind)

    answer, body = await stair.ask(**sent)

    (name,) = sent
    error = orjson.loads(body)["error"]
    assert (answer.status, error["code"], error["param"]) == (400, "invalid_parameter", name)
    assert f"`{name}` can change which model is billed, or how much output" in error["message"]
    assert "model, max_tokens and n" in error["message"]
    assert stair.record.outcome is Outcome.REJECTED
    assert stair.record.cost == 0
    assert not stair.upstream.sent


@pytest.mark.parametrize(("kind", "sent"), ESCAPES)
async def test_elsewhere_the_same_field_passes_untouched(kind: str, sent: dict[str, Any]) -> None:
    stair = stair_of("openai")
    stair.upstream.add(plain(completion(usage=usage(10, 5))))

    answer, _ = await stair.ask(**sent)

    assert answer.status == 200
    assert sent.items() <= orjson.loads(stair.upstream.sent[0].body).items()


def test_every_kind_that_escapes_is_tried_here() -> None:
    known = {(name, field) for name, kind in KINDS.items() for field in kind.quirks.cap_escapes}

    assert known == {(kind, field) for kind, sent in ESCAPES for field in sent}
