"""The pipeline for tests: real admission, caches and books around a scripted provider; no sockets, no disk."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from cache.epochs import Epochs
from cache.exact import ExactCache
from cache.stores.epochs import MemoryEpochs
from cache.stores.memory import MemoryStore
from farthing.call import CacheControl, Endpoint
from farthing.catalog import (
    Affinity,
    Balance,
    Budget,
    Catalog,
    Deployment,
    Feature,
    PriceOverride,
    Provider,
    Quirks,
    Task,
    Tier,
    Timeouts,
    VirtualKey,
    Window,
)
from farthing.money import Nano
from farthing.record import Record
from gateway.answer import Answer
from gateway.balancing import Balancer
from gateway.books import Books
from gateway.cachedesk import CacheDesk, CacheRules
from gateway.destination import Destinations
from gateway.forward import Forwarder
from gateway.ids import new_request_id
from gateway.pipeline import serve
from gateway.pricing import Pricing
from gateway.request import Request
from gateway.runtime import Generation, Runtime
from gateway.tasks import Background
from gateway.upstreams.testing import Ending, Scripted, ScriptedUpstream
from ledger.budgets import BudgetBook
from ledger.prices import PriceBook
from ledger.testing import ManualClock, MemoryLedger
from router_policies.breaker import BreakerRules
from router_policies.tasks import Resolver

KEY = b"fk-scripted"
SMALL, LARGE = "small-model", "large-model"
STREAM = {"content-type": "text/event-stream"}
CHAT = Feature(name="chat", policy="fixed", tier="small", max_output_tokens=100)
TRIAGE = Task(name="triage", bar=Decimal("0.8"), reference="large")
PLENTY = Nano(10**12)


def frames(*events: object, done: bool = True) -> tuple[bytes, ...]:
    """Objects as the frames of a stream, with [DONE] behind them."""
    said = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
    return (*said, b"data: [DONE]\n\n") if done else tuple(said)


def chunk(content: str = "", finish: str | None = None, *, index: int = 0, **more: Any) -> dict[str, Any]:
    """One chat chunk with one choice."""
    delta = {"content": content} if content else {}
    choices = [{"index": index, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
        **more,
    }


def usage(prompt: int, completion: int) -> dict[str, int]:
    """OpenAI's usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def usage_chunk(prompt: int, completion: int) -> dict[str, Any]:
    """The extra chunk that stream_options.include_usage asks for."""
    return {**chunk(), "choices": [], "usage": usage(prompt, completion)}


def stream(*chunks: bytes, ending: Ending = Ending.COMPLETE) -> Scripted:
    """A streamed answer."""
    return Scripted(chunks=chunks, headers=STREAM, ending=ending)


def plain(body: object, status: int = 200, **headers: str) -> Scripted:
    """A plain answer."""
    return Scripted(chunks=(orjson.dumps(body),), status=status, headers=headers)


def completion(content: str = "Hello.", **usages: Any) -> dict[str, Any]:
    """A whole chat answer."""
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **usages}


def dollars(provider: str, model: str, input_: str = "1", output: str = "2", **more: Any) -> PriceOverride:
    """A price in USD per million tokens: with the defaults a token costs 1000 nano-dollars in, 2000 out."""
    return PriceOverride(
        provider=provider, model=model, input_per_mtok=Decimal(input_), output_per_mtok=Decimal(output), **more
    )


def provider(name: str, **quirks: Any) -> Provider:
    """A provider whose timeouts are those of the defaults."""
    return Provider(
        name=name, adapter="openai", base_url=f"http://{name}", quirks=Quirks(**quirks), timeouts=Timeouts()
    )


@dataclass(slots=True)
class Stair:
    """One pipeline. Change the fields before the first call; `records` are what metrics and log saw."""

    upstream: ScriptedUpstream = field(default_factory=ScriptedUpstream)
    clock: ManualClock = field(default_factory=ManualClock)
    small: tuple[Deployment, ...] = (Deployment(name=SMALL, provider=provider("one"), model=SMALL),)
    large: tuple[Deployment, ...] = (Deployment(name=LARGE, provider=provider("one"), model=LARGE),)
    prices: Sequence[PriceOverride] = (dollars("one", SMALL), dollars("one", LARGE, "10", "20"))
    feature: Feature = CHAT
    task: Task = TRIAGE
    rules: BreakerRules = field(default_factory=lambda: BreakerRules(cooldown_s=10))
    balance: Balance = Balance.WEIGHTED
    affinity: Affinity = Affinity.AUTO
    fallback: str = ""
    limit: Nano = PLENTY
    records: list[Record] = field(default_factory=list)
    escalated: list[tuple[str, str, str]] = field(default_factory=list)
    ledger: MemoryLedger = field(init=False)
    runtime: Runtime = field(init=False)

    def open(self) -> "Stair":
        """Build the runtime."""
        self.ledger = MemoryLedger(self.clock)
        budget = Budget(id="all", limit=self.limit, window=Window.DAY)
        balancer = Balancer(self.clock, self.rules, 3)
        self.runtime = Runtime(
            generation=self._generation(),
            books=Books(self.ledger, self.clock, BudgetBook([budget]).accounts, (self.records.append,)),
            caches=CacheDesk(
                exact=ExactCache(MemoryStore(), self.clock, memory_bytes=1 << 20),
                semantic=None,
                secret=b"secret",
                embedder_version="",
                background=Background(),
                epochs=Epochs(MemoryEpochs(), self.clock),
            ),
            forwarder=Forwarder(self.upstream, self.clock, balancer),
            clock=self.clock,
            on_escalated=lambda task, tier, check: self.escalated.append((task, tier, check)),
        )
        balancer.take_up(self.runtime.generation.catalog)
        return self

    def _generation(self) -> Generation:
        tiers = (
            Tier(
                name="small",
                rank=0,
                deployments=self.small,
                balance=self.balance,
                affinity=self.affinity,
                fallback=self.fallback,
            ),
            Tier(name="large", rank=1, deployments=self.large),
        )
        catalog = Catalog(
            tiers=tiers,
            tasks=MappingProxyType({self.task.name: self.task}),
            features=MappingProxyType({"chat": self.feature}),
            models=MappingProxyType({SMALL: self.small, LARGE: self.large}),
            aliases=MappingProxyType({"auto": "auto"}),
            default_tier="large",
            fingerprint="f",
        )
        key = VirtualKey(id="k", sha256=hashlib.sha256(KEY).digest(), tenant="acme", feature="chat")
        return Generation(
            keys={key.sha256: key},
            catalog=catalog,
            count_unregistered=False,
            destinations=Destinations(catalog, (), self.clock.wall_ns()),
            pricing=Pricing(PriceBook(self.prices), catalog),
            budgets=BudgetBook(()),
            cache_rules=CacheRules(
                exact=True,
                semantic=False,
                exact_ttl_s=3600,
                semantic_ttl_s=3600,
                threshold=0.9,
                max_entry_bytes=1 << 20,
            ),
        )

    def generation_with(self, tasks: Mapping[str, Task], resolver: Resolver | None) -> Generation:
        """The generation with these tasks, told by `resolver` where a call names none; prompts are counted."""
        generation = self._generation()
        catalog = replace(generation.catalog, tasks=tasks)
        return replace(generation, catalog=catalog, resolver=resolver, counts_prompts=resolver is not None)

    def request(self, endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> Request:
        """A request as the door reads it."""
        asked: dict[str, Any] = {"model": "auto", **body}
        if endpoint is Endpoint.CHAT:
            asked.setdefault("messages", [{"role": "user", "content": "hello"}])
        now_ns = self.clock.wall_ns()
        return Request(
            id=new_request_id(now_ns),
            endpoint=endpoint,
            body=orjson.dumps(asked),
            received_ns=now_ns,
            started=self.clock.monotonic(),
            secret=KEY,
            cache_control=CacheControl(),
        )

    async def ask(self, endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> tuple[Answer, bytes]:
        """One call, its answer read to the end."""
        async with await serve(self.request(endpoint, **body), self.runtime) as answer:
            if not answer.streams:
                return answer, answer.body
            return answer, b"".join([data async for data in answer.chunks()])

    @property
    def record(self) -> Record:
        """The only record; ledger and witnesses agree on it, and nothing is held any more."""
        (record,) = self.ledger.records.values()
        assert self.records == [record]
        assert not self.ledger.holds
        return record


def with_window(deployment: Deployment, tokens: int) -> Deployment:
    """The same deployment with a context window."""
    return replace(deployment, context_window=tokens)


def with_provider(provider: Provider) -> Deployment:
    """The small model at another provider."""
    return Deployment(name=SMALL, provider=provider, model=SMALL)


def headers_of(answer: Answer) -> Mapping[str, str]:
    """The headers of an answer by name."""
    return {name.decode(): value.decode("latin-1") for name, value in answer.headers}


async def leave_after(stair: Stair, chunks: int) -> None:
    """One streamed call whose client leaves after so many chunks, as the door tells it."""
    answer = await serve(stair.request(stream=True), stair.runtime)
    received = answer.chunks()
    with pytest.raises(asyncio.CancelledError):
        async with answer:
            for _ in range(chunks):
                await anext(received)
            raise asyncio.CancelledError
