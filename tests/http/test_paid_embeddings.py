"""A semantic cache whose embedder is a provider's model: on the books, in the metrics, and no call's trouble."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from cache.semantic import SemanticCache
from farthing.record import CacheOutcome, Outcome, Record
from gateway.meanings import read_figures
from tests.gateway import RunningGateway, running_gateway, until

ASKED = "What is the capital city of France?"
OTHER = "How do I bake bread at home?"
FEATURE = "  chat: {team: web, cache: {exact: true}}\n"
FEATURES = """\
  chat: {team: web, cache: {exact: false, semantic: true}}
  farthing-cache: {team: platform, cache: {exact: false}}
"""
BUDGET = '  - {{id: embeddings, limit_usd: "{limit}", window: day, where: {{feature: farthing-cache}}}}\n'
SEMANTIC = "cache: {{semantic: {{deadline: 5s, embedder: {{provider: {at}, model: {model}, dimensions: 8}}}}}}"
PRICE = "  - {provider: mock, model: mock-embedding, input_per_mtok: 1, output_per_mtok: 0}\n"

Gateway = Callable[..., AbstractAsyncContextManager[RunningGateway]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    @asynccontextmanager
    async def run(
        model: str = "mock-embedding",
        *,
        at: str = "mock",
        limit: str = "1",
    ) -> AsyncIterator[RunningGateway]:
        changes = (
            ("cache: {semantic: {enabled: false}}", SEMANTIC.format(at=at, model=model)),
            (FEATURE, FEATURES),
            ("budgets:\n", "budgets:\n" + BUDGET.format(limit=limit)),
            ("prices:\n", "prices:\n" + PRICE),
        )
        async with running_gateway(tmp_path, changes=changes) as running:
            yield running

    return run


def _embeddings(running: RunningGateway) -> list[Record]:
    return [record for record in running.records() if record.tags.feature == "farthing-cache"]


def _semantic(running: RunningGateway) -> SemanticCache:
    semantic = running.application.house.runtime.caches.semantic
    assert semantic is not None
    return semantic


async def test_a_question_is_embedded_once_on_the_account_of_the_cache(gateway: Gateway) -> None:
    async with gateway() as running:
        answer = await running.chat(ASKED)
        await until(lambda: _semantic(running).counts.stored > 0)

        (record,) = _embeddings(running)
        assert answer.headers["x-farthing-cache"] == "miss"
        assert (record.tags.tenant, record.tags.environment) == ("acme", "test")
        assert (record.outcome, record.cache, record.model_served) == (
            Outcome.SUCCESS,
            CacheOutcome.BYPASS,
            "mock-embedding",
        )
        assert record.cost > 0
        assert running.holds() == 0


async def test_what_it_cost_is_published_as_the_caches_own(gateway: Gateway) -> None:
    async with gateway() as running:
        await running.chat(ASKED)
        await running.chat(OTHER)
        await running.application.house.runtime.caches.background.settle()
        await _semantic(running).flush()
        spent = sum(record.cost for record in _embeddings(running))

        (report,) = read_figures(running.application.house.files.meanings).reports

        assert (report.feature, report.embedding_cost, report.net_saved) == ("chat", spent, -spent)
        assert await running.metric("farthing_semantic_embedding_cost_usd_total", feature="chat") == spent / 1e9
        assert await running.metric("farthing_cost_usd_total", feature="farthing-cache", model="mock-embedding") > 0


@pytest.mark.parametrize(
    ("at", "model"),
    [
        ("mock", "mock-500"),
        ("mock", "mock-429"),
        ("mock", "mock-html-502"),
        ("mock", "mock-not-json"),
        ("mock", "mock-drop"),
        ("mock", "mock-cut"),
        ("dead", "mock-embedding"),
    ],
)
async def test_an_outage_of_the_embedder_is_misses_and_a_metric(gateway: Gateway, at: str, model: str) -> None:
    async with gateway(model, at=at) as running:
        answers = []
        for text in (ASKED, OTHER):
            answers.append(await running.chat(text))
            await running.application.house.runtime.caches.background.settle()
        await _semantic(running).flush()

        assert [(one.status_code, one.headers["x-farthing-cache"]) for one in answers] == [(200, "miss")] * 2
        assert len(_embeddings(running)) == 1  # then nobody is asked for a while
        assert await running.metric("farthing_semantic_skips_total", step="keeping", reason="away") == 2
        assert running.holds() == 0


async def test_a_spent_budget_stops_embedding_and_no_call(gateway: Gateway) -> None:
    async with gateway(limit="0") as running:
        answer = await running.chat(ASKED)
        await running.application.house.runtime.caches.background.settle()

        assert answer.status_code == 200
        (refused,) = _embeddings(running)
        assert (refused.outcome, refused.cost) == (Outcome.REFUSED, 0)
