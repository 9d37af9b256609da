"""Evals that are played, and deployments that break: what the gate alone would do, and what happens to them."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from evals.asked import Asked, Embedded
from evals.drift import Promise, Watch
from evals.gate import Rule, judge
from evals.judges import NULL_ANSWER, examine
from evals.report import ItemOutcome
from evals.suite import Assertion, Gold, Item, Judge, Suite, digest
from evals.verdicts import monotonous
from farthing.routing import Verdict

RUNS: Final = 400
ITEMS: Final = 200
SEED: Final = 769
FLATTERED: Final = 0.769
"""How often GPT-4 preferred one constant answer to GPT-4-1106's own (annotations of tatsu-lab/alpaca_eval cd543a1)."""
GOOD, BROKEN = 0.915, 0.15
"""gpt-4o-2024-08-06 with and without its function-calling mode (HuanzhiMao/BFCL-Result b4adfc9)."""
PROMISE: Final = Promise(floor=GOOD + 0.92 - 1 - 0.05, margin=0.05, period=100)
"""Of a tier that scored .915 beside a reference of .92, as `gateway.livegrading` makes it."""
HEALTHY: Final = 1_000
PAIRED: Final = Rule(items=ITEMS, margin=0.05)
Row = Mapping[str, Any]
NOTE: Final = """A constant answer that a judge prefers to the reference's in 76.9 % of the pairs, as published, on 200
items with a margin of .05: `evals.gate` alone would promote it, since it goes by the scores it is given. Before that
`evals.judges.examine` puts 50 gold pairs and constant answers to the judge, who here agrees with all of the gold and
prefers a constant answer in 76.9 % of the pairs; and `evals.verdicts.monotonous` makes a pass void that one output
gave to most prompts. Then a deployment that answers rightly in .915 and, broken, in .15 of the calls: as a candidate
against a bar of .85, and after its promotion, graded live: 1,000 healthy grades, then the break. Runs with independent
items; `items` is the median until the decision, counted from the break in the last row."""


def gaming_figures(_data: Path | None = None) -> list[Row]:
    """One row for each thing that is tried; it needs no recorded data."""
    dice = np.random.default_rng(SEED)
    return [*_flattery(dice), *_breaks(dice)]


def _flattery(dice: np.random.Generator) -> list[Row]:
    alone = [judge(PAIRED, _preferences(dice)) for _ in range(RUNS)]
    promoted = [found for found in alone if found.verdict is Verdict.PASS]
    admitted = [not asyncio.run(_examined(dice)) for _ in range(RUNS // 4)]
    stands = [not monotonous(_SUITE.items, _alike(found.items)) for found in promoted]
    return [
        _row("constant answer: promoted by the gate alone", len(promoted) / RUNS, [one.items for one in promoted]),
        _row("constant answer: its judge may decide", float(np.mean(admitted))),
        _row("constant answer: promoted, outputs compared", sum(stands) / RUNS),
    ]


def _preferences(dice: np.random.Generator) -> list[tuple[float, float]]:
    """Scores of the constant answer and of the reference, pair by pair."""
    return [(float(won), float(not won)) for won in dice.random(ITEMS) < FLATTERED]


async def _examined(dice: np.random.Generator) -> str:
    assert _SUITE.judge is not None
    return (await examine(_SUITE, _SUITE.judge, _Flattered(dice))).refusal


def _alike(count: int) -> list[ItemOutcome]:
    sha256 = digest(NULL_ANSWER)
    return [
        ItemOutcome(item_hash=item.hash, tier="tiny", score=1.0, output_sha256=sha256) for item in _SUITE.items[:count]
    ]


def _breaks(dice: np.random.Generator) -> list[Row]:
    bar = Rule(items=400, bar=0.85)
    tried = [judge(bar, ((float(right), None) for right in dice.random(400) < BROKEN)) for _ in range(RUNS)]
    live = [_live(dice) for _ in range(RUNS)]
    demoted = [items for healthy, items in live if healthy]
    return [
        _row("broken deployment: promoted", float(np.mean([one.verdict is Verdict.PASS for one in tried]))),
        _row(
            "broken deployment: failed",
            float(np.mean([one.verdict is Verdict.FAIL for one in tried])),
            [one.items for one in tried],
        ),
        _row("good deployment: demoted within 1,000 live grades", 1 - len(demoted) / RUNS),
        _row("then it breaks: demoted", float(np.mean([items < HEALTHY for items in demoted])), demoted),
    ]


def _live(dice: np.random.Generator) -> tuple[bool, int]:
    """Whether the healthy grades raised no alarm, and how many broken ones it took then."""
    watch = Watch(promise=PROMISE)
    for right in dice.random(HEALTHY) < GOOD:
        watch = watch.see(float(right))
        if watch.alarms:
            return False, 0
    for count, right in enumerate(dice.random(HEALTHY) < BROKEN, start=1):
        watch = watch.see(float(right))
        if watch.alarms:
            return True, count
    return True, HEALTHY


def _row(what: str, share: float, items: Sequence[int] = ()) -> Row:
    return {"what": what, "share, %": round(100 * share, 1), "items": float(np.median(items)) if len(items) else None}


class _Flattered:
    """A judge that knows which answer people prefer, and that a constant one flatters."""

    def __init__(self, dice: np.random.Generator) -> None:
        self._dice = dice
        self._prefers_null: dict[str, bool] = {}

    async def ask(self, model: str, messages: Sequence[Mapping[str, str]], *, max_tokens: int, attempt: int) -> Asked:
        """The same preference in both orders."""
        del model, max_tokens, attempt
        asked = json.loads(messages[-1]["content"])
        answers = [text for name, text in asked.items() if name.startswith("answer")]
        if NULL_ANSWER in answers:
            likes = self._prefers_null.setdefault(asked["question"], bool(self._dice.random() < FLATTERED))
            best = answers.index(NULL_ANSWER) if likes else 1 - answers.index(NULL_ANSWER)
        else:
            best = next(place for place, text in enumerate(answers) if text.startswith("good"))
        return Asked(text=json.dumps({"better": "AB"[best]}))

    async def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """Nobody asks for it."""
        raise NotImplementedError


def _suite() -> Suite:
    best = Assertion(type="select-best", place="suite.yaml:1")
    items = tuple(
        Item(messages=({"role": "user", "content": f"q{at}"},), assertions=(best,), max_tokens=64, temperature=0)
        for at in range(ITEMS)
    )
    gold = tuple(Gold(prompt=f"g{at}", output=f"good {at}", other=f"bad {at}") for at in range(50))
    return Suite(
        name="flattery",
        task="chat",
        bar=0.0,
        margin=0.05,
        reference="large",
        candidates=("tiny",),
        items=items,
        judge=Judge(model="tier/judge", rubric="It helps.", gold=gold),
    )


_SUITE: Final = _suite()
