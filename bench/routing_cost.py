"""What routing costs a request: telling its task, finding its destination, choosing a deployment; no part of a request
besides."""

import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import yaml

from bench.gateway_config import BENCH_KEY, write_gateway_config
from evals.scorecards import ScorecardStore
from farthing.call import Call, Endpoint
from farthing.catalog import VirtualKey
from farthing.routing import Scorecard, Verdict
from gateway.admission import admit, authenticate, known_task
from gateway.clock import SystemClock
from gateway.request import Request
from gateway.runtime import Generation, Runtime
from gateway.settings import load
from gateway.taskexamples import write_classifier
from gateway.wiring import House
from router_policies.prompthash import PREFIX, prompt_hash
from router_policies.tasks import resolve_task
from router_policies.training import Example, train

CALLS: Final = 2_000
ROUNDS: Final = 7
SYSTEM: Final = "You sort support tickets into one of the classes that are listed below, and answer with its name. " * 5
USER: Final = "My card was declined twice when I tried to pay in the shop yesterday, and I would like to know why. " * 4
OTHER: Final = "You are an assistant of whom nobody has said what he is for, and this is what you have to know. " * 5
RULES: Final = (
    {"tools": True, "tool_names": ["lookup"]},
    {"json_schema": True, "schema_names": ["ticket_class"]},
    {"image": True},
    {"system_regex": "(?i)translate"},
    {"user_prefix": "Sum up"},
    {"user_regex": r"(?i)\b(refund|chargeback)\b"},
    {"user_regex": "^[0-9 +*/-]+$"},
    {"min_chars": 200, "max_chars": 2000, "languages": ["en"]},
)
"""Five on the shape and on how texts begin, two patterns, and a language with a band of lengths."""
CLASSES: Final = 10
EXAMPLES: Final = 50
NOTE: Final = """Least of seven rounds of 2,000 requests of 900 characters in system prompt and user's text, parsed
beforehand; CPU microseconds of the process, so the thread of the classifier counts. `routing` is all of it: task,
policy by scorecards, three deployments by load and breaker; `task` the telling of the task alone. Nothing declared: no
task has signs. The rules are eight: five on the shape and on how texts begin, two patterns, and a language. `wait` is
wall time of a call whose task is looked for by examples (ten tasks, fifty examples each), one call at a time, from the
event loop to the thread and back."""


class Case(NamedTuple):
    """One way in which the task of a request is told."""

    name: str
    signs: str
    header: str = ""
    system: str = SYSTEM
    user: str = USER
    source: str = "default"


CASES: Final = (
    Case("header, nothing declared", "none", header="bench", source="header"),
    Case("no task, nothing declared", "none"),
    Case("header, all declared", "rules", header="bench", source="header"),
    Case("hash of the system prompt", "rules", source="system_prompt"),
    Case("rules, the fifth fits", "rules", system=OTHER, user=f"Sum up: {USER}", source="rule"),
    Case("rules, the eighth fits", "rules", system=OTHER, source="rule"),
    Case("rules, none fits", "rules", system=OTHER, user="word " * 90),
)
BY_EXAMPLES: Final = Case("examples", "examples", source="centroid")


def cost_figures(calls: int = CALLS, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """A row for each way of telling a task."""
    with tempfile.TemporaryDirectory(prefix="farthing-routing-") as directory:
        return asyncio.run(_measure_all(Path(directory), calls, rounds))


async def _measure_all(directory: Path, calls: int, rounds: int) -> list[dict[str, Any]]:
    rows = []
    for signs in ("none", "rules", "examples"):
        house = _house(directory / signs, signs)
        await house.open()
        try:
            cases = [case for case in (*CASES, BY_EXAMPLES) if case.signs == signs]
            rows += [await _row(case, house, calls, rounds) for case in cases]
        finally:
            await house.close()
    return rows


async def _row(case: Case, house: House, calls: int, rounds: int) -> dict[str, Any]:
    runtime, generation = house.runtime, house.runtime.generation
    said = await _tell(_asked(case, runtime, 1)[0], runtime, generation)
    assert said[1] == case.source, f"{case.name}: told by {said[1]}"
    whole = await _least(case, runtime, calls, rounds, _routed)
    task = await _least(case, runtime, calls, rounds, _tell)
    waits = await _waits(case, runtime, calls) if case is BY_EXAMPLES else (None, None)
    return {
        "task by": case.name,
        "routing, us": round(whole, 1),
        "task, us": round(task, 1),
        "wait p50, us": waits[0],
        "wait p99, us": waits[1],
    }


Asked = tuple[Request, Call, VirtualKey]
Step = Callable[[Asked, Runtime, Generation], Awaitable[object]]


async def _least(case: Case, runtime: Runtime, calls: int, rounds: int, step: Step) -> float:
    """CPU microseconds of one call, the least of all rounds."""
    found = []
    for _ in range(rounds):
        asked = _asked(case, runtime, calls)
        gc.collect()
        began = time.process_time()
        for one in asked:
            await step(one, runtime, runtime.generation)
        found.append((time.process_time() - began) / calls * 1e6)
    return min(found)


async def _waits(case: Case, runtime: Runtime, calls: int) -> tuple[int, int]:
    """Median and 99 % quantile, microseconds."""
    times = []
    for one in _asked(case, runtime, calls):
        began = time.perf_counter()
        await _tell(one, runtime, runtime.generation)
        times.append((time.perf_counter() - began) * 1e6)
    times.sort()
    return round(times[len(times) // 2]), round(times[int(0.99 * len(times))])


async def _tell(asked: Asked, runtime: Runtime, generation: Generation) -> tuple[str, str]:
    """As in `gateway.pipeline`."""
    request, call, key = asked
    feature = generation.feature(call.tags.feature)
    said = resolve_task(
        header=request.task, metadata=call.tags.task, key_default=key.task, feature_default=feature.task
    )
    if generation.resolver is not None:
        said = await runtime.tasks.resolve(said, call, feature, generation)
    return said


async def _routed(asked: Asked, runtime: Runtime, generation: Generation) -> object:
    call = asked[1]
    task = known_task(*await _tell(asked, runtime, generation), generation.catalog)
    destination = generation.destinations.find(call, generation.feature(call.tags.feature), task)
    balancer = runtime.forwarder.balancer
    line = balancer.tries(runtime.route(destination), call)[0].line
    if line is not None:
        balancer.enter(line).succeed()
    return destination


# --- a gateway, and requests to it ---------------------------------------------------------------


def _asked(case: Case, runtime: Runtime, calls: int) -> list[Asked]:
    """Requests as they are after admission; each has texts of its own, as each body that is parsed does."""
    generation = runtime.generation
    body = orjson.dumps(
        {
            "model": "auto",
            "messages": [{"role": "system", "content": case.system}, {"role": "user", "content": case.user}],
        }
    )
    request = Request(
        id="bench",
        endpoint=Endpoint.CHAT,
        body=body,
        received_ns=1,
        started=0.0,
        secret=BENCH_KEY.encode(),
        task=case.header,
    )
    key = authenticate(generation.keys, request.secret, 1)
    return [(request, admit(request, key, generation.catalog, count_unregistered=False), key) for _ in range(calls)]


def _house(directory: Path, signs: str) -> House:
    directory.mkdir()
    write_gateway_config(directory, "http://127.0.0.1:9/v1", 0)
    file = directory / "farthing.yaml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    names = [f"model-{number}" for number in range(3)]
    tree["tiers"] = [
        {"name": "small", "deployments": [{"provider": "mock", "model": name} for name in names]},
        {"name": "only", "deployments": tree["tiers"][0]["deployments"]},
    ]
    tree["prices"] += [{**tree["prices"][0], "model": name} for name in names]
    tree["tasks"] = _tasks(signs)
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    settings = load(file, {})
    house = House(settings, SystemClock())
    if signs == "examples":
        write_classifier(house.files.classifier, train(_examples()))
    with ScorecardStore(house.files.scorecards) as cards:
        cards.add(_pass(tuple(f"mock/{name}" for name in names)))
    return house


def _tasks(signs: str) -> dict[str, Any]:
    if signs == "examples":
        return {name: _task(examples="file://examples.jsonl") for name in ("bench", *_names())}
    declared: dict[str, Any] = (
        {"system_prompts": [PREFIX + prompt_hash(SYSTEM)], "match": list(RULES)} if signs == "rules" else {}
    )
    return {"bench": _task(**declared)}


def _task(**declared: Any) -> dict[str, Any]:
    return {"bar": 0.9, "reference": "only", "candidates": ["small"], **declared}


def _names() -> list[str]:
    return [f"class-{number}" for number in range(1, CLASSES)]


def _examples() -> Sequence[Example]:
    """Requests of ten tasks: that of the bench, and nine of made-up words."""
    dice = random.Random(1)
    words = {name: [f"{name[-1]}{dice.randrange(10**6):x}" for _ in range(300)] for name in _names()}
    own = f"{SYSTEM} {USER}".split()
    made = [Example(name, " ".join(dice.sample(words[name], 60))) for name in words for _ in range(EXAMPLES)]
    return [*made, *(Example("bench", " ".join(dice.sample(own, 60))) for _ in range(EXAMPLES))]


def _pass(models: tuple[str, ...]) -> Scorecard:
    return Scorecard(
        task="bench",
        tier="small",
        verdict=Verdict.PASS,
        score=0.95,
        bar=float(Decimal("0.9")),
        items=200,
        suite="bench",
        suite_hash="bench",
        models=models,
        run_id="bench",
        decided_ns=1,
    )
