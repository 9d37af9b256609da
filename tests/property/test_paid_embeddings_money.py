"""Whatever comes and goes while embeddings are under way: each gets its own vector, and all that is told is booked."""

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from cache.embedders.pooled import EmbedderAway, EmbedderBusy
from farthing.catalog import Deployment
from farthing.money import Nano
from farthing.ports import Payer
from farthing.tags import Tags
from gateway.paidembedder import MAX_BATCH, PAUSE_S, PaidEmbedder
from gateway.pipeline import serve_aside
from gateway.settings import EmbedderSettings
from gateway.tasks import Background
from gateway.upstreams.testing import ScriptedAnswer, Sent
from tests.scripted_pipeline import Stair, dollars, plain, provider, usage

PLACE = Deployment(name="embed-1", provider=provider("one"), model="embed-1")
PATIENCE_S = 0.25
TENANTS = ("acme", "globex")


class Echo:
    """Port Upstream: a text becomes (its length, 1); `troubles` says of each call whether it fails."""

    def __init__(self, troubles: list[bool]) -> None:
        self.sent: list[list[str]] = []
        self._troubles = troubles

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> ScriptedAnswer:
        texts = orjson.loads(Sent(deployment, operation, body, stream).body)["input"]
        self.sent.append(texts)
        failed = len(self.sent) <= len(self._troubles) and self._troubles[len(self.sent) - 1]
        data = [{"index": at, "embedding": [len(text), 1]} for at, text in enumerate(texts)]
        answer = plain({"error": {"message": "no"}}, 500) if failed else plain({"data": data, "usage": usage(7, 0)})
        return ScriptedAnswer(answer, deployment.provider)

    async def close(self) -> None:
        """See the port."""


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(TENANTS), st.integers(1, 5)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("run"), st.integers(1, 30)),
        st.tuples(st.just("pass"), st.sampled_from((0.1, 1.0, PAUSE_S))),
    ),
    max_size=40,
)


@given(steps=steps, troubles=st.lists(st.booleans(), max_size=6), max_queue=st.integers(1, 4))
def test_each_gets_its_own_vector_and_what_payers_are_told_is_what_was_booked(
    steps: list[tuple[Any, ...]], troubles: list[bool], max_queue: int
) -> None:
    asyncio.run(_play(steps, troubles, max_queue))


async def _play(steps: list[tuple[Any, ...]], troubles: list[bool], max_queue: int) -> None:
    upstream, tasks, told = Echo(troubles), Background(), Counter[str]()
    stair = _stair(upstream)
    embedder = PaidEmbedder(
        EmbedderSettings(place=PLACE, dimension=2),
        serve_aside,
        stair.clock,
        tasks.start,
        runtime=lambda: stair.runtime,
        current=lambda: None,
        max_queue=max_queue,
        patience_s=PATIENCE_S,
    )

    async def ask(tenant: str, length: int) -> None:
        def spent(cost: Nano) -> None:
            told[tenant] += cost

        text = (tenant[0] * length) + " " + tenant
        payer = Payer(Tags(tenant=tenant, key_id="k", feature="search"), spent)
        (vector,) = await embedder.embed([text], payer)
        expected = np.array([len(text), 1]) / np.hypot(len(text), 1)
        assert np.allclose(vector, expected)

    asked: list[asyncio.Task[None]] = []
    for kind, *values in steps:
        if kind == "ask":
            asked.append(asyncio.ensure_future(ask(*values)))
        elif kind == "leave" and values[0] < len(asked):
            asked[values[0]].cancel()
        elif kind == "pass":
            stair.clock.advance(values[0])
        for _ in range(values[0] if kind == "run" else 1):
            await asyncio.sleep(0)
    ends = await asyncio.gather(*asked, return_exceptions=True)
    await tasks.settle()

    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError, EmbedderAway, EmbedderBusy}
    booked = Counter[str]()
    for record in stair.records:
        booked[record.tags.tenant] += record.cost
    assert told == booked
    assert not stair.ledger.holds
    assert embedder.queued == 0
    assert all(len(texts) <= MAX_BATCH and len({text[0] for text in texts}) == 1 for texts in upstream.sent)
    await embedder.aclose()


def _stair(upstream: Echo) -> Stair:
    prices = (dollars("one", "small-model"), dollars("one", "large-model"), dollars("one", "embed-1", "1", "0"))
    return Stair(upstream=upstream, prices=prices).open()  # type: ignore[arg-type]
