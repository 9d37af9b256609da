"""Graders ask through the gateway, under the run's own tags, and are told what it costs."""

import json
from typing import Any

import httpx
import pytest

from evals.asker import GatewayAsker
from evals.gateway import AskFailed, Asking, RunStopped
from evals.graders import Ungraded

MESSAGES = [{"role": "user", "content": "Is it?"}]
COST = {"x-farthing-cost-usd": "0.000002000"}


def asker(answer: Any, status: int = 200, headers: dict[str, str] = COST) -> tuple[GatewayAsker, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, json=answer, headers=headers)

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://gateway/v1/")
    return GatewayAsker(client, Asking(feature="evals", task="tone", run_id="7", fresh=False)), asked


def said(text: str | None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}}]}


async def test_a_judge_is_asked_at_temperature_0_under_the_runs_tags() -> None:
    asking, asked = asker(said("pass"))

    found = await asking.ask("tier/judge", MESSAGES, max_tokens=64, attempt=0)

    assert (found.text, found.cost) == ("pass", 2_000)
    body = json.loads(asked[0].content)
    assert body == {"model": "tier/judge", "messages": MESSAGES, "max_tokens": 64, "temperature": 0}
    assert (asked[0].headers["x-farthing-feature"], asked[0].headers["x-farthing-run"]) == ("evals", "eval-7")


async def test_a_second_attempt_is_another_request_to_every_cache() -> None:
    asking, asked = asker(said("pass"))

    await asking.ask("tier/judge", MESSAGES, max_tokens=64, attempt=1)

    assert json.loads(asked[0].content)["seed"] == 1


@pytest.mark.parametrize("text", [None, ""])
async def test_a_judge_that_says_nothing_said_an_empty_text(text: str | None) -> None:
    asking, _ = asker(said(text))

    assert (await asking.ask("tier/judge", MESSAGES, max_tokens=64, attempt=0)).text == ""


async def test_vectors_come_in_the_order_of_their_texts() -> None:
    rows = [{"index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1.0, 2.0]}]
    asking, asked = asker({"data": rows})

    found = await asking.embed("minilm", ["a", "b"])

    assert (list(found.vectors), found.cost) == ([(1.0, 2.0), (3.0, 4.5)], 2_000)
    assert json.loads(asked[0].content) == {"model": "minilm", "input": ["a", "b"], "encoding_format": "float"}


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"message": "text"}]}, []])
async def test_an_answer_of_another_shape_is_no_answer(answer: Any) -> None:
    asking, _ = asker(answer)

    with pytest.raises(AskFailed):
        await asking.ask("tier/judge", MESSAGES, max_tokens=64, attempt=0)
    with pytest.raises(AskFailed):
        await asking.embed("minilm", ["a"])


@pytest.mark.parametrize("vector", ["base64", [True], None, ["1"]])
async def test_what_is_no_vector_gives_no_grade(vector: Any) -> None:
    asking, _ = asker({"data": [{"index": 0, "embedding": vector}]})

    with pytest.raises(Ungraded):
        await asking.embed("minilm", ["a"])


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [(402, COST, RunStopped), (404, COST, RunStopped), (502, COST, AskFailed), (200, {}, RunStopped)],
)
async def test_a_refusal_ends_the_run_and_a_failure_the_question(
    status: int, headers: dict[str, str], error: type[Exception]
) -> None:
    asking, _ = asker(said("pass"), status, headers)

    with pytest.raises(error):
        await asking.ask("tier/judge", MESSAGES, max_tokens=64, attempt=0)
