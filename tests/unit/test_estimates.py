"""Estimates: how many tokens there were where the provider did not say."""

from typing import Any

import orjson
import pytest

from farthing.call import Call, Endpoint
from gateway.admission import admit
from gateway.tokens import COUNTED_AT_ONCE, estimated_input, estimated_tokens
from ledger.tokens import count_tokens
from tests.scripted_pipeline import Stair, chunk, completion, frames, plain, stream

ENGLISH = "The invoice names three deliveries, of which one was returned on the ninth of March. "
CHINESE = "发票上列有三次交货,其中一次已于三月九日退回。"


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, "1234567890 " * 20, '{"a": [1, 2, {"b": null}]}', " " * 300])
async def test_a_stream_in_pieces_counts_as_the_tokenizer_counts_it_whole(text: str) -> None:
    pieces = [text[at : at + 20] for at in range(0, len(text), 20)]
    stair = Stair().open()
    stair.upstream.add(stream(*frames(*map(chunk, pieces), done=False)))

    await stair.ask(stream=True)

    assert stair.record.usage.output_total == max(count_tokens([text]), len(pieces))


async def test_a_long_text_is_counted_as_exactly() -> None:
    long = ENGLISH * 2_000 + CHINESE * 2_000
    assert len(long) > 3 * COUNTED_AT_ONCE

    assert await estimated_tokens([long], model="") == count_tokens([long])


async def test_nothing_has_no_tokens() -> None:
    assert await estimated_tokens([], model="") == 0


@pytest.mark.parametrize(("text", "least"), [(ENGLISH, 17), (CHINESE, 15)])
async def test_a_plain_answer_without_usage_is_counted_by_the_tokenizer(text: str, least: int) -> None:
    stair = Stair().open()
    stair.upstream.add(plain(completion(text)))

    await stair.ask()

    booked = stair.record.usage
    assert (booked.output_total, booked.source.value) == (count_tokens([text]), "estimated")
    assert booked.output_total >= least


async def test_input_counts_texts_tools_turns_and_pictures_but_not_the_letters_of_a_picture() -> None:
    stair = Stair().open()
    alone = await estimated_input(asked(stair, messages=[{"role": "user", "content": ENGLISH}]), model="")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40_000}}
    turns = [{"role": "user", "content": [{"type": "text", "text": ENGLISH}, picture]}]
    with_picture = await estimated_input(asked(stair, messages=turns), model="")
    tool = {"type": "function", "function": {"name": "refund", "parameters": {"type": "object", "properties": {}}}}
    asked_with_tool = asked(stair, messages=[{"role": "user", "content": ENGLISH}], tools=[tool])
    with_tool = await estimated_input(asked_with_tool, model="")

    assert alone == count_tokens([ENGLISH]) + 7
    assert alone < with_picture < alone + 2_000
    assert abs(with_tool - alone - count_tokens([orjson.dumps([tool]).decode()])) <= 2  # where the two texts meet


async def test_tokens_that_were_sent_as_numbers_are_counted() -> None:
    call = asked(Stair().open(), Endpoint.EMBEDDINGS, model="small-model", input=[[1, 2, 3], [4, 5]])

    assert await estimated_input(call, model="") == 5


async def test_a_stream_that_is_cut_anywhere_is_charged_for_what_came_and_never_nothing() -> None:
    words = ENGLISH.split(" ")
    for end in range(1, len(words)):
        stair = Stair().open()
        deltas = [chunk(word + " ") for word in words[:end]]
        stair.upstream.add(stream(*frames(*deltas, done=False)))

        await stair.ask(stream=True)

        counted = count_tokens(["".join(word + " " for word in words[:end])])
        assert stair.record.usage.output_total == max(counted, end)
        assert stair.record.cost > 0


def asked(stair: Stair, endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> Call:
    generation = stair.runtime.generation
    (key, *_) = generation.keys.values()
    return admit(stair.request(endpoint, **body), key, generation.catalog, count_unregistered=True)
