"""Laws of streams: what is replayed assembles into what was stored, and no event breaks an assembler."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from cache.assemble import assembler
from cache.replay import DONE, stream
from cache.storable import storable
from cache.testing import example_answer, example_body
from farthing.call import Endpoint

TEXTS = st.text(min_size=1, max_size=20)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc", min_size=1, max_size=3),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text("fg", min_size=1, max_size=3), "arguments": TEXTS}),
        }
    ),
    min_size=1,
    max_size=3,
)
BODIES = st.one_of(
    TEXTS.map(example_body),
    st.builds(lambda text, why: example_body(text, reasoning_content=why), TEXTS, TEXTS),
    CALLS.map(lambda calls: example_body(None, tool_calls=calls)),
)
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "choices", "delta", "content", "index", "tool_calls", "function", "usage", "type", "response",
                 "finish_reason", "logprobs", "x_groq", "text", "arguments", "name", "role", "moderation", "output"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(BODIES, st.booleans())
def test_a_replayed_stream_assembles_into_the_stored_answer(body: dict[str, Any], include_usage: bool) -> None:
    answer = example_answer(body)
    made = assembler(Endpoint.CHAT)

    for frame in stream(Endpoint.CHAT, answer, new_id="new", created=5, include_usage=include_usage):
        if frame != DONE:
            made.feed(orjson.loads(frame.removeprefix(b"data: ")))

    assembled = orjson.loads(made.body() or b"")
    assert assembled["choices"] == body["choices"]
    assert assembled.get("usage") == (body["usage"] if include_usage else None)


@given(st.sampled_from([Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES]), st.lists(JUNK, max_size=4))
def test_no_event_breaks_an_assembler_and_no_body_breaks_the_judge(endpoint: Endpoint, events: list[Any]) -> None:
    made = assembler(endpoint)

    for event in events:
        made.feed(event)
        if isinstance(event, dict):
            storable(endpoint, event)

    body = made.body()
    assert body is None or storable(endpoint, orjson.loads(body)) is not None
