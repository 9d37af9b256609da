"""Stored answers that stream as they once came: as many pieces, as much time, the same text."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from cache.replay import stream
from cache.testing import example_answer, example_body
from farthing.call import Endpoint
from farthing.record import Outcome
from farthing.usage import Usage
from farthing.value import changed
from gateway.pacing import MOST_PIECES, MOST_S, PacedEnding, pieces_of
from tests.gateway import RunningGateway, running_gateway

PACED = ("chat: {team: web, cache: {exact: true}}", "chat: {team: web, cache: {replay: paced}}")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, changes=[PACED], duration_ms=150) as running:
        yield running


def text_of(page: str) -> str:
    events = [orjson.loads(line[6:]) for line in page.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@pytest.mark.parametrize("first_streams", [False, True])
async def test_a_paced_hit_comes_in_pieces_and_says_the_same(gateway: RunningGateway, first_streams: bool) -> None:
    first = await gateway.chat(stream=first_streams)
    said = text_of(first.text) if first_streams else first.json()["choices"][0]["message"]["content"]

    again = await gateway.chat(stream=True)

    assert again.headers["x-farthing-cache"] == "exact"
    assert text_of(again.text) == said
    assert again.text.count('"content"') >= 3  # the opening, then at least two pieces
    assert again.text.endswith("data: [DONE]\n\n")
    assert gateway.record_of(again).outcome is Outcome.HIT


async def test_a_plain_hit_is_never_paced(gateway: RunningGateway) -> None:
    await gateway.chat()

    answer = await gateway.chat()

    assert answer.headers["x-farthing-cache"] == "exact"
    assert answer.json()["choices"]


@pytest.mark.parametrize("pieces", [1, 2, 7, 1_000])
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES])
def test_pieces_together_are_the_text(endpoint: Endpoint, pieces: int) -> None:
    said = "Paris, of course, 👩‍👩‍👧 and so on."
    item = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    bodies = {
        Endpoint.CHAT: example_body(said),
        Endpoint.COMPLETIONS: {"id": "c", "choices": [{"index": 0, "text": said, "finish_reason": "stop"}]},
        Endpoint.RESPONSES: {
            "id": "r",
            "object": "response",
            "status": "completed",
            "created_at": 1,
            "output": [{**item, "content": [{"type": "output_text", "text": said, "annotations": []}]}],
        },
    }

    frames = stream(
        endpoint, example_answer(bodies[endpoint]), new_id="n", created=1, include_usage=False, pieces=pieces
    )

    events = [orjson.loads(line[5:]) for frame in frames for line in frame.splitlines() if line.startswith(b"data: {")]
    deltas = [
        event.get("delta") if endpoint is Endpoint.RESPONSES else choice.get("text", choice.get("delta"))
        for event in events
        for choice in (event.get("choices") or [{}])
    ]
    parts = [one.get("content") if isinstance(one, dict) else one for one in deltas]
    spoken = [part for part in parts if part]
    assert "".join(spoken) == said
    assert len(spoken) <= pieces
    assert pieces == 1 or len(spoken) > 1


def test_a_text_with_log_probabilities_stays_in_one_piece() -> None:
    body = example_body("Paris.")
    body["choices"][0]["logprobs"] = {"content": [{"token": "Paris."}]}

    frames = stream(Endpoint.CHAT, example_answer(body), new_id="n", created=1, include_usage=False, pieces=9)

    assert sum(b'"Paris."' in frame and b'"content":"Paris."' in frame for frame in frames) == 1


async def test_the_frames_leave_over_the_time_that_the_provider_took() -> None:
    ending = PacedEnding([b"a", b"b", b"c"], 0.003)

    assert ending._pause == pytest.approx(0.001)
    assert [frame async for frame in ending.chunks()] == [b"a", b"b", b"c"]


def test_a_replay_has_bounds() -> None:
    endless = changed(example_answer(), usage=Usage(output=10**6), seconds=10**6)

    assert pieces_of(endless) == MOST_PIECES
    assert PacedEnding([b"x"] * 10, endless.seconds)._pause == MOST_S / 10
    assert pieces_of(changed(example_answer(), body=b"", usage=Usage())) == 1
