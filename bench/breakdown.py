"""Where the CPU of a proxied request goes: the gateway in this process, measured whole and then without one part.

`python -m bench.breakdown [--json PATH]`. No sockets on either side: the provider's answer is a constant, so the
figures are the gateway's own work; `bench.run` measures the wires. Each figure is the least of several rounds, since
noise on a shared machine only ever adds.
"""

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from bench.gateway_config import write_gateway_config
from bench.results import write_result
from farthing.catalog import Deployment
from farthing.ports import UpstreamResponse
from gateway.server import GC_THRESHOLDS, Application
from gateway.settings import load
from gateway.wiring import House
from ledger.testing import MemoryLedger

CALLERS: Final = 64
CALLS: Final = 100
ROUNDS: Final = 10
ANSWER: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "bench-model",
    "choices": [
        {
            "index": 0,
            "logprobs": None,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "word " * 60, "refusal": None, "annotations": []},
        }
    ],
    "usage": {"prompt_tokens": 80, "completion_tokens": 60, "total_tokens": 140},
}


class ConstantAnswer:
    """Port UpstreamResponse: always the same."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "application/json"}

    def __init__(self) -> None:
        self._body = orjson.dumps(ANSWER)

    async def read(self) -> bytes:
        return self._body

    async def close(self) -> None:
        """Nothing is open."""

    def chunks(self) -> Any:
        raise NotImplementedError


class ConstantUpstream:
    """Port Upstream without a wire."""

    async def send(self, deployment: Deployment, operation: str, body: bytes, *, stream: bool) -> UpstreamResponse:
        del deployment, operation, body, stream
        return ConstantAnswer()

    async def close(self) -> None:
        """Nothing is open."""


def _whole(house: House) -> None:
    del house


def _without_log(house: House) -> None:
    house.runtime.books.witnesses = (house.metrics.observe,)


def _without_metrics(house: House) -> None:
    house.runtime.books.witnesses = (house.log.write,)


def _without_durable_ledger(house: House) -> None:
    house.runtime.books.ledger = MemoryLedger(house.clock)


def _without_exact_cache(house: House) -> None:
    generation = house.runtime.generation
    rules = replace(generation.cache_rules, exact=False)
    house.runtime.generation = replace(generation, cache_rules=rules)


PARTS: Final[Mapping[str, Callable[[House], None]]] = {
    "everything": _whole,
    "request log": _without_log,
    "metrics": _without_metrics,
    "durable ledger (over one in memory)": _without_durable_ledger,
    "exact cache (look up, store)": _without_exact_cache,
}


async def measure(change: Callable[[House], None], *, repeat: bool = False) -> float:
    """CPU microseconds a request, all threads, with one part changed. `repeat`: the same question, so exact hits."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        config.mkdir()
        key = write_gateway_config(config, "http://127.0.0.1:9/v1", 0)
        house = Application(config, {}, load(config, {})).house
        await house.open()
        house.runtime.forwarder.upstream = ConstantUpstream()
        change(house)
        try:
            return await _measure(house, key, repeat=repeat)
        finally:
            await house.close()


async def _measure(house: House, key: str, *, repeat: bool) -> float:
    headers = [(b"host", b"bench"), (b"authorization", b"Bearer " + key.encode()), (b"content-length", b"550")]
    scope = {"type": "http", "raw_path": b"/v1/chat/completions", "method": "POST", "headers": headers}
    numbers = iter(range(10**9))

    async def call() -> None:
        body = _body(0 if repeat else next(numbers))

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        await house.door(scope, receive, _drop)

    async def caller() -> None:
        for _ in range(CALLS):
            await call()

    await caller()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    least = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        least = min(least, time.process_time() - started)
    return least / (CALLERS * CALLS) * 1e6


async def _drop(message: MutableMapping[str, Any]) -> None:
    del message


def _body(number: int) -> bytes:
    question = f"Question number {number} about things. " * 6
    messages = [{"role": "system", "content": "You are careful. " * 12}, {"role": "user", "content": question}]
    return orjson.dumps({"model": "auto", "temperature": 0.2, "messages": messages})


def _in_silence(change: Callable[[House], None], *, repeat: bool = False) -> float:
    """Measure with standard error, where the request log goes, thrown away."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        return uvloop.run(measure(change, repeat=repeat))
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _by_itself(change: Callable[[House], None], *, repeat: bool = False) -> float:
    """The same in a process of its own: what an earlier one left in memory would be counted as a part of this."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_in_silence, change, repeat=repeat).result()


def main() -> None:
    """Measure and print; write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    whole = _by_itself(PARTS["everything"])
    figures = {"proxied request, all on": round(whole, 1)}
    for name, change in list(PARTS.items())[1:]:
        figures[f"of which {name}"] = round(whole - _by_itself(change), 1)
    figures["exact hit, all on"] = round(_by_itself(_whole, repeat=True), 1)
    for name, value in figures.items():
        print(f"{value:8.1f} CPU us  {name}")
    if options.json:
        write_result(options.json, name="breakdown", command="python -m bench.breakdown", figures=figures)


if __name__ == "__main__":
    main()
