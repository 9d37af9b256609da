"""Whatever is asked of POST /api/explain is answered, or refused with the envelope."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.admin_setup import ADMIN_SECRET
from tests.http.test_explain_api import Gateway
from tests.ledgers import SQLiteEngine

words = st.sampled_from(
    ("", "search", "chat", "faq", "auto", "small", "tier/small", "app", "req-1", "a b", "\x00", "é" * 300)
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
messages = (
    st.lists(st.fixed_dictionaries({"role": words | values, "content": words | values}) | values, max_size=3) | values
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "model": words | values,
        "messages": messages,
        "prompt": words | values,
        "input": words | values,
        "tools": values,
        "response_format": values,
        "metadata": st.dictionaries(st.sampled_from(("task", "feature", "run")), words | values),
        "max_tokens": st.integers(-2, 9) | values,
        "n": st.integers(-1, 200) | values,
    },
)
headers = st.dictionaries(
    st.sampled_from(("x-farthing-feature", "X-Farthing-Task", "x-farthing-run", "authorization", "é\n")), words | values
)
questions = st.fixed_dictionaries(
    {},
    optional={
        "request_id": words | values,
        "feature": words | values,
        "task": words | values,
        "model": words | values,
        "endpoint": st.sampled_from(("chat/completions", "responses", "completions", "embeddings", "files")) | values,
        "headers": headers | values,
        "key": words | values,
        "body": bodies | values,
    },
)
with_body = st.fixed_dictionaries(
    {"body": bodies, "headers": st.just({"x-farthing-feature": "search"}) | headers},
    optional={"endpoint": st.sampled_from(("chat/completions", "responses", "completions", "embeddings"))},
)


def test_every_question_has_an_answer_or_an_error_of_ours(tmp_path: Any) -> None:
    gateway = Gateway(SQLiteEngine(tmp_path / "ledger.db"))

    async def ask(asked: Any) -> None:
        async with gateway.installation.client(key=ADMIN_SECRET) as client:
            response = await client.post("/api/explain", json=asked)
        if response.status_code != 200:
            assert response.status_code in (400, 403, 404), response.text
            assert set(response.json()["error"]) >= {"message", "type", "param", "code"}

    @settings(max_examples=200, deadline=None)
    @given(questions | with_body | values)
    def holds(asked: Any) -> None:
        asyncio.run(ask(asked))

    holds()
